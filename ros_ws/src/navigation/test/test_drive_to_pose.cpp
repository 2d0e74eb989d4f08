#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "navigation/drive_to_pose.hpp"

using navigation::DriveToPose;
using navigation::Limits;
using navigation::Pose;
using navigation::Velocity;
using navigation::normalize_angle;

namespace
{

constexpr double kStep = 0.02;
constexpr double kPi = 3.14159265358979323846;

struct Drive
{
  Pose pose;
  std::vector<Velocity> velocities;
};

// A robot that does at once what it is told.
Drive drive(DriveToPose & controller, Pose pose, double seconds = 30.0)
{
  Drive drive{pose, {}};
  for (double time = 0.0; time < seconds && !controller.arrived(); time += kStep) {
    const Velocity velocity = controller.update(drive.pose, kStep);
    drive.pose.x += velocity.linear * kStep * std::cos(drive.pose.theta);
    drive.pose.y += velocity.linear * kStep * std::sin(drive.pose.theta);
    drive.pose.theta += velocity.angular * kStep;
    drive.velocities.push_back(velocity);
  }
  return drive;
}

}  // namespace

class ToAnyGoal : public testing::TestWithParam<Pose> {};

TEST_P(ToAnyGoal, ArrivesWithinTolerance)
{
  const Limits limits;
  const Pose goal = GetParam();
  DriveToPose controller(limits);
  controller.set_goal(goal);
  const Drive end = drive(controller, {});
  ASSERT_TRUE(controller.arrived());
  EXPECT_LE(
    std::hypot(goal.x - end.pose.x, goal.y - end.pose.y), 3.0 * limits.position_tolerance);
  EXPECT_LE(std::abs(normalize_angle(goal.theta - end.pose.theta)), limits.angle_tolerance);
}

INSTANTIATE_TEST_SUITE_P(
  Goals, ToAnyGoal, testing::Values(
    Pose{1.0, 0.0, 0.0}, Pose{-1.0, 0.0, 0.0}, Pose{0.5, 0.8, -kPi / 2}, Pose{0.0, 0.0, kPi},
    Pose{0.03, -0.02, 1.0}, Pose{2.0, -1.0, 3.0}, Pose{}));

TEST(DriveToPose, KeepsItsLimits)
{
  const Limits limits;
  DriveToPose controller(limits);
  controller.set_goal({1.5, 1.5, 0.0});
  Velocity last;
  for (const Velocity & velocity : drive(controller, {}).velocities) {
    EXPECT_LE(std::abs(velocity.linear), limits.linear_velocity);
    EXPECT_LE(std::abs(velocity.angular), limits.angular_velocity);
    EXPECT_LE(
      std::abs(velocity.linear - last.linear), limits.linear_acceleration * kStep + 1e-9);
    EXPECT_LE(
      std::abs(velocity.angular - last.angular), limits.angular_acceleration * kStep + 1e-9);
    last = velocity;
  }
}

TEST(DriveToPose, StandsStillWithoutAGoal)
{
  DriveToPose controller{Limits{}};
  const Velocity velocity = controller.update({}, kStep);
  EXPECT_EQ(velocity.linear, 0.0);
  EXPECT_EQ(velocity.angular, 0.0);
  EXPECT_FALSE(controller.arrived());
}

TEST(DriveToPose, BrakesWhenCancelled)
{
  const Limits limits;
  DriveToPose controller(limits);
  controller.set_goal({5.0, 0.0, 0.0});
  Drive moving = drive(controller, {}, 1.0);
  ASSERT_GT(moving.velocities.back().linear, 0.0);
  controller.cancel();
  EXPECT_EQ(drive(controller, moving.pose, 2.0).velocities.back().linear, 0.0);
}

TEST(NormalizeAngle, StaysInRange)
{
  EXPECT_NEAR(normalize_angle(2.5 * kPi), 0.5 * kPi, 1e-12);
  EXPECT_NEAR(normalize_angle(-3.0 * kPi), kPi, 1e-12);
}
