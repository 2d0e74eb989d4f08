#include "navigation/drive_to_pose.hpp"

#include <algorithm>
#include <cmath>

namespace navigation
{
namespace
{

constexpr double kPi = 3.14159265358979323846;

// Drive only when the goal is ahead: beyond this angle, turn on the spot.
constexpr double kAhead = 0.4;

// Speed per remaining way. Close to the goal it takes over from the braking curve, whose slope is
// infinite there and would make the robot tremble.
constexpr double kGain = 4.0;

// The braking curve plans with less than the robot can do, to allow for its delays.
constexpr double kBraking = 0.7;

// A robot at the goal may be pushed this many tolerances away before it drives again.
constexpr double kHysteresis = 3.0;

// The greatest speed from which the robot can stop within the remaining way.
double stoppable(double remaining, double velocity, double acceleration)
{
  const double way = std::abs(remaining);
  const double speed =
    std::min({velocity, std::sqrt(2.0 * kBraking * acceleration * way), kGain * way});
  return std::copysign(speed, remaining);
}

double step_towards(double from, double to, double step)
{
  return from + std::clamp(to - from, -step, step);
}

}  // namespace

double normalize_angle(double angle)
{
  const double normalized = std::remainder(angle, 2.0 * kPi);
  return normalized <= -kPi ? kPi : normalized;
}

DriveToPose::DriveToPose(const Limits & limits)
: limits_(limits) {}

void DriveToPose::set_goal(const Pose & goal)
{
  goal_ = goal;
  in_place_ = false;
  arrived_ = false;
}

void DriveToPose::cancel()
{
  goal_.reset();
  arrived_ = false;
}

Velocity DriveToPose::update(const Pose & pose, double seconds)
{
  approach(goal_ ? wanted(pose) : Velocity{}, seconds);
  return velocity_;
}

Velocity DriveToPose::wanted(const Pose & pose)
{
  const double dx = goal_->x - pose.x;
  const double dy = goal_->y - pose.y;
  distance_ = std::hypot(dx, dy);

  const double tolerance = limits_.position_tolerance * (in_place_ ? kHysteresis : 1.0);
  in_place_ = distance_ <= tolerance;

  if (!in_place_) {
    const double error = normalize_angle(std::atan2(dy, dx) - pose.theta);
    const double ahead = std::abs(error) < kAhead ? std::cos(error) : 0.0;
    return {
      ahead * stoppable(distance_, limits_.linear_velocity, limits_.linear_acceleration),
      stoppable(error, limits_.angular_velocity, limits_.angular_acceleration)};
  }

  const double error = normalize_angle(goal_->theta - pose.theta);
  if (std::abs(error) > limits_.angle_tolerance) {
    return {0.0, stoppable(error, limits_.angular_velocity, limits_.angular_acceleration)};
  }
  arrived_ = arrived_ || (velocity_.linear == 0.0 && velocity_.angular == 0.0);
  return {};
}

void DriveToPose::approach(const Velocity & wanted, double seconds)
{
  velocity_.linear =
    step_towards(velocity_.linear, wanted.linear, limits_.linear_acceleration * seconds);
  velocity_.angular =
    step_towards(velocity_.angular, wanted.angular, limits_.angular_acceleration * seconds);
}

}  // namespace navigation
