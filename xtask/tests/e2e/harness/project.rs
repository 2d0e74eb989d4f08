//! The lab that the test of this thread works in: its project's name is in the names of its robots, images and caches.

use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

thread_local! {
    static NAME: Cell<&'static str> = const { Cell::new("") };
}

/// The name of the project of this thread's lab, wherever text is wanted.
#[derive(Clone, Copy)]
pub struct Project;

/// See [`Project`].
pub const PROJECT: Project = Project;

impl Project {
    /// From here on this thread works in the lab of this name.
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
