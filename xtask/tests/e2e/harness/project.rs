//! The lab of this thread's test; its project's name is part of the names of its robots, images and caches.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

thread_local! {
    static NAME: Cell<&'static str> = const { Cell::new("") };
}

/// Name of the project of this thread's lab; displays as text.
#[derive(Clone, Copy)]
pub struct Project;

pub const PROJECT: Project = Project;

impl Project {
    /// Sets the lab of this thread.
    pub fn enter(name: &'static str) {
        NAME.set(name);
    }
}

impl Deref for Project {
    type Target = str;

    fn deref(&self) -> &str {
        let name = NAME.get();
        assert!(!name.is_empty(), "this thread works in no lab");
        name
    }
}

impl fmt::Display for Project {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self)
    }
}
