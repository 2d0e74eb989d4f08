//! The verbs: thin, they wire the stages together and print.

pub mod completions;
pub mod doctor;
pub mod setup;
