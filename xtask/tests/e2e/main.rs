//! Deploys to simulated robots, on the real engine: `cargo xtask test --only e2e [NAME…]`.
//!
//! Tests check the state of the robot. Each running test has a lab for itself: a workspace and a pair of
//! robots. Several labs work in parallel, because tests spend half of their time waiting. Labs are reused,
//! because creating robots takes longer than most tests: each test prepares its own starting state
//! ([`Lab::deployed`]), so that it can run alone or after any other.
//!
//! Most tests are about Docker, SSH and the containers on robots, not about ROS: they use the plain
//! workspace, `plain/`.

#![allow(unreachable_pub, reason = "tests are listed in this file")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod activation;
mod archive;
mod bases;
mod build_errors;
mod bundles;
mod compose;
mod damaged;
mod delivery;
mod delta;
mod dependencies;
mod dropped_links;
mod dry_run;
mod edits;
mod everyday;
mod fallbacks;
mod false_robot;
mod faults;
mod first_deploy;
mod fleet;
mod foreign;
mod forwarding;
mod full_disks;
mod harness;
mod host_keys;
mod hub;
mod init;
mod interrupts;
mod json;
mod kept;
mod links;
mod locks;
mod machines;
mod memory;
mod official;
mod older;
mod plan;
mod provenance;
mod readme;
mod registry_image;
mod reinstall;
mod releases;
mod ros;
mod security;
mod settings;
mod simulation;
mod timings;
mod trees;
mod tunnel;
mod unfit_robots;
mod watch;

use std::process::ExitCode;

use harness::{run_all, tests};

fn main() -> ExitCode {
    // All these tests share one lab, so they start first.
    let ros = tests![Ros:
        dry_run::the_dockerfile_is_printed_and_nothing_is_built,
        first_deploy::everything_arrives_on_a_fresh_robot,
        first_deploy::the_registry_listens_on_loopback_only,
        first_deploy::a_second_deploy_changes_nothing,
        ros::a_node_in_cpp_publishes_on_the_robot,
        ros::a_service_is_healthy_by_the_nodes_and_topics_of_the_graph,
        ros::the_nodes_of_a_robot_drive_it_to_its_goal,
        edits::one_line_of_python_changes_one_layer_and_one_container,
        edits::one_line_of_cpp_changes_one_layer,
        edits::a_parameter_file_replaces_who_mounts_it,
        edits::returning_to_an_older_source_returns_to_the_older_image,
        edits::a_deleted_module_leaves_the_image,
        dependencies::a_dependency_that_the_base_lacks_reaches_the_robot,
        build_errors::each_package_tells_what_is_wrong_with_it,
        everyday::commands_in_a_container_have_the_environment_of_ros,
        security::the_robot_listens_on_loopback_only,
        fleet::both_image_stores_get_the_same_images,
        fleet::robots_hear_each_other_on_a_shared_domain_only,
        everyday::the_build_tools_work_on_the_sources_of_this_machine,
        reinstall::what_is_installed_again_equals_a_build_from_nothing,
        everyday::what_is_built_with_them_belongs_to_who_started_them,
        provenance::touched_files_and_fresh_clones_change_no_digest,
        init::a_colcon_workspace_becomes_a_running_robot,
        official::a_workspace_runs_on_a_base_with_ros,
        readme::every_command_of_the_readme_works,
    ];
    // The longest tests start early, so that the run does not end with waiting for one of them.
    let long = tests![Plain:
        machines::a_fresh_debian_12_is_set_up,
        machines::a_fresh_debian_13_is_set_up,
        damaged::a_damaged_layer_of_the_robot_is_brought_again,
        memory::a_layer_of_600_mb_takes_little_memory_on_the_robot,
        activation::links_that_are_cut_for_good,
        activation::links_that_are_cut_for_good_before_anything_starts,
        dropped_links::ten_cuts_cost_little,
        links::deploys_arrive_whenever_the_link_fails,
        links::releases_change_whenever_the_link_fails,
        links::data_and_answers_arrive_whenever_the_link_fails,
        links::a_robot_that_stays_away_is_told_of_in_one_sentence,
        activation::whoever_leaves_the_robot_goes_on,
        delta::a_registry_that_never_answers_is_given_up,
        faults::a_link_that_is_away_for_five_seconds_at_any_phase,
        activation::an_engine_that_stays_away_goes_back_when_it_returns,
        hub::a_login_is_in_no_file_of_robots_while_they_pull,
        hub::robots_are_brought_back_to_a_published_tag,
        hub::what_keeps_published_images_away_is_told_and_changes_nothing,
        releases::prune_leaves_what_kept_releases_need_and_nothing_else,
        trees::what_arrives_is_what_was_built_whatever_was_there,
    ];
    let plain = tests![Plain:
        dry_run::nothing_is_touched_and_commands_can_be_pasted,
        dry_run::robots_are_asked_and_not_changed,
        provenance::an_unrelated_commit_changes_no_digest,
        provenance::labels_tell_the_revision_and_whether_it_was_edited,
        plan::an_empty_robot_gets_what_was_planned,
        plan::an_edit_is_planned_closely,
        plan::services_that_a_release_has_no_more_are_told_of,
        plan::a_registry_that_is_stopped_is_looked_into_all_the_same,
        delivery::without_start_images_arrive_and_containers_stay,
        delivery::a_taken_port_is_stepped_over,
        everyday::one_service_is_stopped_started_and_restarted_and_no_other,
        everyday::unknown_services_are_named_with_those_there_are,
        everyday::a_command_runs_once_beside_the_service,
        everyday::variables_are_changed_without_a_build,
        everyday::data_is_copied_and_completed,
        everyday::data_is_copied_out_of_a_container,
        settings::a_changed_variable_restarts_who_uses_it,
        settings::env_files_reach_containers_and_no_log,
        settings::mounted_files_travel_along,
        compose::the_shell_of_whoever_deploys_reaches_no_robot,
        compose::what_a_service_writes_belongs_to_the_robot,
        compose::what_an_older_release_wrote_is_not_lost,
        compose::several_files_are_one_project,
        compose::profiles_replicas_and_secrets_are_those_of_compose,
        compose::services_that_share_a_namespace_are_replaced_together,
        compose::large_files_are_sent_once,
        compose::containers_are_those_that_compose_itself_makes,
        compose::nodes_that_were_started_by_hand_are_named,
        foreign::images_of_others_travel_and_are_pinned,
        foreign::a_dockerfile_of_a_compose_file_is_built,
        foreign::a_dockerfile_builds_upon_images_of_the_project,
        foreign::a_repository_may_have_nothing_but_dockerfiles_and_a_compose_file,
        compose::what_no_robot_can_do_is_refused_before_anything_is_sent,
        links::a_robot_that_is_starting_is_waited_for,
        links::the_limits_of_a_server_are_waited_for,
        kept::one_login_serves_several_runs,
        kept::a_kept_connection_that_is_lost_costs_a_login,
        kept::what_a_login_may_do_is_asked_again,
        kept::connections_are_kept_where_and_while_they_may_be,
        dropped_links::what_the_robot_made_of_it_is_not_sent_again,
        dropped_links::a_later_run_sends_the_rest,
        dropped_links::a_push_survives_the_death_of_its_connection,
        delta::a_killed_run_leaves_nothing_and_the_next_goes_on_where_it_stopped,
        delta::a_registry_that_fails_stops_the_delivery_and_nothing_else,
        delta::a_registry_that_is_stopped_for_a_while_is_waited_for,
        delta::layers_of_a_teammates_machine_are_built_upon,
        damaged::a_damaged_layer_of_this_machine_is_exported_again,
        damaged::damaged_deltas_and_indexes_of_this_machine_are_made_again,
        full_disks::a_robot_without_room_is_sent_nothing,
        full_disks::a_robots_disk_that_fills_up_in_the_middle,
        full_disks::no_room_for_deltas_on_this_machine,
        full_disks::no_room_for_layers_on_this_machine,
        full_disks::this_machines_disk_fills_up_in_the_middle,
        fallbacks::while_another_machine_delivers,
        fallbacks::a_robot_short_of_memory,
        interrupts::ctrl_c_while_building,
        interrupts::signals_while_deltas_are_sent,
        interrupts::signals_while_pushing,
        interrupts::a_start_that_broke_off_is_made_up_for,
        releases::a_release_can_be_understood_on_the_robot,
        releases::rollback_goes_back_without_a_build_or_a_byte,
        releases::the_last_ones_are_kept_with_their_images,
        older::a_robot_that_an_older_version_served_is_served,
        releases::this_machine_keeps_what_the_next_deploy_needs,
        releases::status_tells_what_is_not_as_the_release_says,
        faults::a_laptop_that_dies_at_any_of_ten_points,
        faults::an_engine_that_is_killed_while_delivering,
        faults::a_registry_that_is_killed_or_loses_everything,
        faults::an_engine_whose_disk_fills_up_while_pulling,
        activation::a_node_that_crashes_at_once,
        activation::a_service_that_crashes_while_it_settles,
        activation::a_node_that_is_well_and_crashes_later,
        activation::a_first_release_that_crashes_later_is_told_of,
        activation::a_service_that_was_stopped_has_to_be_well_again,
        activation::what_people_stop_is_no_crash,
        activation::a_node_that_never_gets_healthy,
        activation::a_node_that_ends_without_an_error,
        activation::a_port_that_is_taken,
        activation::a_device_that_is_not_there,
        activation::a_job_counts_when_it_has_ended_well,
        activation::without_rollback_it_stays_to_be_looked_at,
        registry_image::the_image_is_small_and_whole_on_other_processors,
        hub::a_tag_holds_the_images_of_several_platforms,
        bases::an_arm64_image_is_built_under_emulation,
        activation::a_file_that_compose_refuses_touches_nothing,
        activation::a_link_that_is_cut_and_comes_back,
        activation::a_power_cut_ends_with_the_old_release_by_itself,
        activation::an_engine_that_is_killed_while_activating,
        activation::an_activation_that_is_killed_is_ended_by_who_listens,
        activation::a_release_directory_that_is_lost_is_made_again,
        activation::a_full_disk_keeps_a_release_away,
        activation::a_disk_that_fills_up_while_activating,
        activation::a_clock_that_is_a_day_off_changes_nothing,
        locks::two_deploys_at_once_are_one_after_the_other,
        locks::a_killed_holder_leaves_no_lock,
        locks::a_busy_robot_is_delivered_to_and_not_disturbed,
        watch::what_is_saved_is_deployed_and_a_mistake_is_waited_out,
        watch::a_saved_file_is_live_at_once_and_a_release_at_the_end,
        watch::every_kind_of_file_that_is_installed_as_it_is_is_live,
        watch::who_shares_a_namespace_with_an_edited_service_starts_after_it,
        watch::what_a_service_does_not_work_with_is_on_no_robot_and_in_no_release,
        watch::what_a_lost_watch_leaves_is_replaced_by_the_next_deploy,
        watch::a_save_overtakes_the_build_before_it,
        watch::what_cannot_be_put_into_containers_is_deployed,
        registry_image::a_robot_rebuilds_data_from_a_patch,
        timings::the_page_of_a_deploy_looks_right_in_a_browser,
        timings::a_deploy_that_fails_says_so_on_its_page,
        tunnel::it_takes_a_push_and_closes_on_ctrl_c,
        unfit_robots::a_stopped_engine_is_named,
        unfit_robots::a_user_without_the_right_to_docker_is_told,
        unfit_robots::a_server_that_forwards_no_ports_is_told,
        unfit_robots::a_robot_with_busybox_is_served,
        forwarding::nothing_of_this_machine_is_forwarded,
        host_keys::an_unknown_key_is_refused_until_it_is_recorded,
        host_keys::a_changed_key_is_refused_until_it_is_replaced,
        host_keys::another_platform_is_a_mistake_in_the_configuration,
        everyday::logs_are_those_of_the_services_asked_for,
        everyday::logs_are_followed_until_ctrl_c,
        security::this_machine_listens_on_loopback_only,
        security::a_hostile_node_neither_sees_nor_steers_a_deploy,
        security::the_guard_is_as_weak_as_it_can_be,
        security::secrets_are_read_by_who_needs_them_and_kept_nowhere,
        security::odd_names_in_a_compose_file_arrive,
        security::others_on_the_robot_cannot_use_its_registry,
        security::who_takes_the_registrys_port_gets_nothing,
        false_robot::whatever_its_programs_say_xtask_ends_and_says_what_is_wrong,
        fleet::a_robot_that_is_off_does_not_stop_the_other,
        fleet::two_clones_on_one_machine_do_not_mix_their_images,
        archive::both_image_stores_load_it_without_a_registry,
        archive::only_what_differs_is_in_it,
        archive::the_same_images_restart_nothing_whichever_way_they_come,
        archive::a_dropped_connection_changes_nothing,
        bundles::one_brings_empty_robots_what_was_built,
        bundles::one_against_another_has_the_difference_only,
        bundles::a_robot_that_lacks_the_other_is_told_which_to_load_first,
        bundles::what_is_damaged_is_refused_before_a_robot_is_touched,
        bundles::a_stick_that_is_pulled_out_leaves_the_robot_as_it_was,
        bundles::a_stick_that_is_full_keeps_what_was_on_it,
        hub::a_tree_that_is_not_clean_is_not_published,
        json::what_is_printed_is_what_is_documented,
        hub::a_revision_is_published_under_its_branch_tags_and_revision,
        bases::a_base_that_could_not_be_made_is_not_kept,
        simulation::up_and_down_can_be_repeated_and_leave_nothing,
    ];
    run_all(&[&ros[..], &long, &plain].concat())
}
