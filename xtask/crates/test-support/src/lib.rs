//! Shared by the tests of several crates: [`fuzz`], and random layers ([`trees`]).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking, and print")]

pub mod fuzz;
pub mod trees;
