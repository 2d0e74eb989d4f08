// Publishes its count ten times a second, until a signal ends it.

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <thread>

#include <rcl/error_handling.h>
#include <rcl/rcl.h>
#include <std_msgs/msg/int32.h>

namespace
{
volatile std::sig_atomic_t is_ended = 0;

void check(rcl_ret_t result, const char * action)
{
  if (result != RCL_RET_OK) {
    std::cerr << action << ": " << rcl_get_error_string().str << std::endl;
    std::exit(1);
  }
}
}  // namespace

int main(int argc, char ** argv)
{
  for (int signal : {SIGINT, SIGTERM}) {
    std::signal(signal, [](int) {is_ended = 1;});
  }
  auto options = rcl_get_zero_initialized_init_options();
  check(rcl_init_options_init(&options, rcl_get_default_allocator()), "options");
  auto context = rcl_get_zero_initialized_context();
  check(rcl_init(argc, argv, &options, &context), "init");
  auto node = rcl_get_zero_initialized_node();
  const auto node_options = rcl_node_get_default_options();
  check(rcl_node_init(&node, "beacon", "", &context, &node_options), "node");
  auto publisher = rcl_get_zero_initialized_publisher();
  const auto publisher_options = rcl_publisher_get_default_options();
  const auto * type = ROSIDL_GET_MSG_TYPE_SUPPORT(std_msgs, msg, Int32);
  check(rcl_publisher_init(&publisher, &node, type, "beat", &publisher_options), "publisher");

  std_msgs__msg__Int32 beat{};
  while (!is_ended) {
    ++beat.data;
    check(rcl_publish(&publisher, &beat, nullptr), "publish");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  check(rcl_publisher_fini(&publisher, &node), "publisher");
  check(rcl_node_fini(&node), "node");
  check(rcl_shutdown(&context), "shutdown");
  return 0;
}
