//! Deploys to simulated robots, on the real engine: `cargo test --test e2e [-- NAME…]`.
//!
//! What is looked at is what is on the robot. The tests run one after another, in this order, on one
//! workspace and one pair of robots, because making robots takes longer than most tests; each brings what
//! it starts from about itself ([`Lab::deployed`]), so that any of them can be run alone.

mod delivery;
mod edits;
mod first_deploy;
mod harness;
mod provenance;

use std::process::ExitCode;

use harness::{Lab, run_all, tests};

fn main() -> ExitCode {
    run_all(tests![
        first_deploy::everything_arrives_on_a_fresh_robot,
        first_deploy::the_registry_listens_on_loopback_only,
        first_deploy::a_second_deploy_changes_nothing,
        edits::one_line_of_python_changes_one_layer_and_one_container,
        edits::one_line_of_cpp_changes_one_layer,
        edits::returning_to_an_older_source_returns_to_the_older_image,
        edits::a_deleted_module_leaves_the_image,
        provenance::touched_files_and_fresh_clones_change_no_digest,
        provenance::an_unrelated_commit_changes_no_digest,
        provenance::labels_tell_the_revision_and_whether_it_was_edited,
        delivery::without_start_images_arrive_and_containers_stay,
    ])
}
