//! Assigns the next test and its lab: as many labs work in parallel as there are lanes.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::lab::{Lab, World};
use super::runner::Test;

/// Remaining tests, and idle labs.
#[derive(Default)]
struct State {
    waiting: Vec<Test>,
    idle: BTreeMap<World, Vec<Lab>>,
    opened: BTreeMap<World, usize>,
    busy: BTreeMap<World, usize>,
}

pub struct Scheduler {
    state: Mutex<State>,
    /// Labs are not removed when no test needs them any more.
    keep: bool,
}

/// A lab to work in: an open one, or one that has to be opened.
enum Place {
    Idle(Box<Lab>),
    New(World, usize),
}

impl Scheduler {
    /// Takes the tests in the order in which they start.
    pub fn new(tests: Vec<Test>, keep: bool) -> Self {
        Self { state: Mutex::new(State { waiting: tests, ..State::default() }), keep }
    }

    /// Returns the first test that has a free lab, with the lab; `None` if no test is left for the calling
    /// lane.
    pub fn next(&self) -> Option<(Test, Lab)> {
        let (test, place) = {
            let mut state = self.state.lock();
            let at = state.waiting.iter().position(|test| state.has_room(test.world))?;
            let test = state.waiting.remove(at);
            (test, state.enter(test.world))
        };
        let lab = match place {
            Place::Idle(lab) => *lab,
            Place::New(world, number) => Lab::open(world, number),
        };
        lab.enter();
        Some((test, lab))
    }

    /// Returns the lab of a test that has ended.
    pub fn done(&self, test: Test, lab: Lab) {
        let mut unneeded = Vec::new();
        {
            let mut state = self.state.lock();
            *state.busy.entry(test.world).or_default() -= 1;
            state.idle.entry(test.world).or_default().push(lab);
            if !self.keep && state.waiting.iter().all(|waiting| waiting.world != test.world) {
                unneeded = state.idle.remove(&test.world).unwrap_or_default();
            }
        }
        // Its running nodes would slow down the remaining tests.
        unneeded.into_iter().for_each(Lab::close);
    }
}

impl State {
    fn has_room(&self, world: World) -> bool {
        self.busy.get(&world).copied().unwrap_or_default() < world.labs()
    }

    fn enter(&mut self, world: World) -> Place {
        *self.busy.entry(world).or_default() += 1;
        match self.idle.get_mut(&world).and_then(Vec::pop) {
            Some(lab) => Place::Idle(Box::new(lab)),
            None => {
                let opened = self.opened.entry(world).or_default();
                *opened += 1;
                Place::New(world, *opened - 1)
            }
        }
    }
}
