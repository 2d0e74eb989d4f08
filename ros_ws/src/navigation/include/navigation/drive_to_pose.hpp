// Drives a robot with two driven wheels to a pose: turn to it, drive there, turn to its heading.

#ifndef NAVIGATION__DRIVE_TO_POSE_HPP_
#define NAVIGATION__DRIVE_TO_POSE_HPP_

#include <optional>

namespace navigation
{

/// A place in the plane, in metres and radians.
struct Pose
{
  double x = 0.0;
  double y = 0.0;
  double theta = 0.0;
};

/// Forwards in metres per second, counterclockwise in radians per second.
struct Velocity
{
  double linear = 0.0;
  double angular = 0.0;
};

/// What the robot can do, and how exact it has to be.
struct Limits
{
  double linear_velocity = 0.5;
  double angular_velocity = 2.5;
  double linear_acceleration = 0.8;
  double angular_acceleration = 5.0;
  double position_tolerance = 0.01;
  double angle_tolerance = 0.03;
};

/// The angle in (-pi, pi] that points into the same direction.
double normalize_angle(double angle);

class DriveToPose
{
public:
  explicit DriveToPose(const Limits & limits);

  /// Drive to a pose from now on, from whatever velocity there is.
  void set_goal(const Pose & goal);

  /// Give up the goal: brake.
  void cancel();

  /// The velocity to command, given where the robot is and the seconds since the last call.
  Velocity update(const Pose & pose, double seconds);

  /// Whether the robot stands at the goal. Stays true until there is a new one.
  bool arrived() const {return arrived_;}

  /// Metres from the pose last seen to the goal.
  double distance() const {return distance_;}

private:
  Velocity wanted(const Pose & pose);
  void approach(const Velocity & wanted, double seconds);

  Limits limits_;
  std::optional<Pose> goal_;
  Velocity velocity_;
  double distance_ = 0.0;
  bool in_place_ = false;
  bool arrived_ = false;
};

}  // namespace navigation

#endif  // NAVIGATION__DRIVE_TO_POSE_HPP_
