// The controller as the Python module `navigation._core`.

#include <pybind11/pybind11.h>

#include "navigation/drive_to_pose.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, module)
{
  using navigation::DriveToPose;
  using navigation::Limits;
  using navigation::Pose;
  using navigation::Velocity;

  module.doc() = "The controller that drives to a pose, written in C++.";

  py::class_<Pose>(module, "Pose")
  .def(
    py::init([](double x, double y, double theta) {return Pose{x, y, theta};}),
    py::arg("x") = 0.0, py::arg("y") = 0.0, py::arg("theta") = 0.0)
  .def_readwrite("x", &Pose::x)
  .def_readwrite("y", &Pose::y)
  .def_readwrite("theta", &Pose::theta);

  py::class_<Velocity>(module, "Velocity")
  .def_readonly("linear", &Velocity::linear)
  .def_readonly("angular", &Velocity::angular);

  py::class_<Limits>(module, "Limits")
  .def(py::init<>())
  .def_readwrite("linear_velocity", &Limits::linear_velocity)
  .def_readwrite("angular_velocity", &Limits::angular_velocity)
  .def_readwrite("linear_acceleration", &Limits::linear_acceleration)
  .def_readwrite("angular_acceleration", &Limits::angular_acceleration)
  .def_readwrite("position_tolerance", &Limits::position_tolerance)
  .def_readwrite("angle_tolerance", &Limits::angle_tolerance);

  py::class_<DriveToPose>(module, "DriveToPose")
  .def(py::init<const Limits &>(), py::arg("limits"))
  .def("set_goal", &DriveToPose::set_goal, py::arg("goal"))
  .def("cancel", &DriveToPose::cancel)
  .def("update", &DriveToPose::update, py::arg("pose"), py::arg("seconds"))
  .def_property_readonly("arrived", &DriveToPose::arrived)
  .def_property_readonly("distance", &DriveToPose::distance);
}
