//! Pulls ahead: while layers are still on their way, the robot's engine unpacks those that have arrived.
//!
//! Unpacking takes a robot as long as a fast link takes for the same layers, and an engine pulls whole images only. So
//! it is given an image of the lowest layers, those that have arrived, which goes as soon as the real ones are there.
//! Whatever comes in the way of that costs time and nothing else: the pull that follows is right on its own.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;

use super::Route;
use super::courier::Carried;
use crate::error::Result;
use crate::image::layout::{Exported, Layer};
use crate::process::Child;
use crate::robot::Session;
use crate::robot::registry::{self, RegistryClient};
use crate::timeline::{self, Lane, Phase};
use crate::{process, ui};

/// The robot's part.
const SCRIPT: &str = include_str!("scripts/ahead.sh");

/// Bytes of a layer that are worth a pull of their own.
const LAYER: u64 = 8 << 20;

/// Bytes that have to be on their way yet: else the pull of the whole image follows as soon.
const LEFT: u64 = 2 << 20;

/// Hears of a layer that has arrived, by what has arrived by then, and the bytes that have not.
pub type Arrivals<'a> = dyn Fn(&Carried, &Layer, u64) + Sync + 'a;

/// The lowest layers of an image, as far as they have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lowest {
    image: Exported,
    layers: usize,
}

/// What may be pulled ahead, until sending is over.
pub struct Ahead<'a> {
    orders: Mutex<Option<Sender<Lowest>>>,
    /// Held while something is said to the registry.
    talking: &'a Mutex<()>,
}

impl Ahead<'_> {
    /// A layer has arrived.
    pub fn arrived(&self, carried: &Carried, layer: &Layer, left: u64) {
        if left >= LEFT
            && let Some(lowest) = lowest(carried, layer)
            && let Some(orders) = &*self.orders.lock().unwrap_or_else(PoisonError::into_inner)
        {
            // Who pulls has given up: nothing is lost.
            drop(orders.send(lowest));
        }
    }

    /// Nothing more is pulled ahead, and nothing said to the registry; what is being pulled goes on.
    pub fn sending_is_over(&self) {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.talking.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// What the robot has pulled ahead. It removes that when this guard goes, and also when this process is killed.
#[derive(Debug, Default)]
#[must_use = "what was pulled ahead is removed when it is dropped"]
pub struct Pulled {
    /// None while there is nothing to pull.
    robot: Option<Robot>,
}

/// The robot's end: it pulls what it is told, and answers.
#[derive(Debug)]
struct Robot {
    words: Option<PipeWriter>,
    answers: BufReader<PipeReader>,
    child: Child,
}

impl Robot {
    fn start(session: &Session) -> Result<Self> {
        let (child, words, answers) = session.command(["sh", "-c", SCRIPT, "ahead"]).converse()?;
        Ok(Self { words: Some(words), answers, child })
    }

    /// Waits until the robot has pulled an image; tells whether it could.
    fn pull(&mut self, reference: &str) -> Result<bool> {
        if let Some(words) = &mut self.words {
            writeln!(words, "{reference}").context("have a robot pull ahead")?;
        }
        let mut answer = String::new();
        let _bytes = self.answers.read_line(&mut answer).context("have a robot pull ahead")?;
        Ok(answer == "pulled\n")
    }
}

impl Drop for Robot {
    fn drop(&mut self) {
        drop(self.words.take());
        // What it could not remove is in nobody's way.
        drop(self.child.wait());
    }
}

/// Does `work`, which tells what arrives, and has that pulled meanwhile.
pub fn while_sending<T>(
    route: &Route<'_>,
    registry: &RegistryClient,
    work: impl FnOnce(&Ahead<'_>) -> T,
) -> (T, Pulled) {
    let (orders, wanted) = channel();
    let talking = &Mutex::new(());
    let ahead = Ahead { orders: Mutex::new(Some(orders)), talking };
    std::thread::scope(|scope| {
        let pulling = scope.spawn(move || pull(route, registry, &wanted, talking));
        let result = work(&ahead);
        ahead.sending_is_over();
        let pulled = pulling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (result, pulled)
    })
}

/// Pulls what is wanted last, again and again.
fn pull(
    route: &Route<'_>,
    registry: &RegistryClient,
    wanted: &Receiver<Lowest>,
    talking: &Mutex<()>,
) -> Pulled {
    let mut pulled = Pulled::default();
    while let Ok(first) = wanted.recv() {
        let lowest = wanted.try_iter().last().unwrap_or(first);
        if let Err(error) = pulled.add(route, registry, &lowest, talking) {
            if process::mode().verbose {
                ui::warn(route.session.robot(), &format!("{error:#}"));
            }
            return pulled;
        }
    }
    pulled
}

impl Pulled {
    fn add(
        &mut self,
        route: &Route<'_>,
        registry: &RegistryClient,
        lowest: &Lowest,
        talking: &Mutex<()>,
    ) -> Result<()> {
        let project = &route.workspace.project.name;
        let partial = route.depot.layout.partial(&lowest.image, lowest.layers)?;
        let reference = format!("{}@{}", registry::repository(project), partial.digest());
        let _span = timeline::span(Lane::robot(route.session.robot()), Phase::Pull, "pull what has arrived");
        let quiet = talking.lock().unwrap_or_else(PoisonError::into_inner);
        registry.put_image(project, &partial.config, &partial.manifest)?;
        drop(quiet);
        let robot = match &mut self.robot {
            Some(robot) => robot,
            None => self.robot.insert(Robot::start(route.session)?),
        };
        anyhow::ensure!(robot.pull(&reference)?, "it cannot pull what has arrived");
        Ok(())
    }
}

/// Of the images that have a layer that has arrived, the longest run of lowest layers that have.
fn lowest(carried: &Carried, layer: &Layer) -> Option<Lowest> {
    let lowest = |image: &Exported| {
        let has_arrived = |layer: &&Layer| carried.layers.contains_key(&layer.digest);
        let layers = image.layers.iter().take_while(has_arrived).count();
        image.layers[..layers].contains(layer).then(|| Lowest { image: image.clone(), layers })
    };
    let found = carried.images.iter().filter(|_| layer.size >= LAYER).filter_map(lowest);
    found.max_by_key(|lowest| lowest.layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::courier::Carriage;
    use crate::timeline::How;

    fn layer(name: &str, size: u64) -> Layer {
        Layer { digest: name.to_owned(), size, created_by: String::new() }
    }

    fn image(layers: &[&Layer]) -> Exported {
        let layers = layers.iter().map(|layer| (*layer).clone()).collect();
        Exported { digest: "sha256:m".into(), own_bytes: 0, layers }
    }

    #[test]
    fn what_is_pulled_is_all_that_has_arrived_from_below() {
        let [base, ros, late, top, small] = ["base", "ros", "late", "top", "small"]
            .map(|name| layer(name, LAYER - u64::from(name == "small")));
        let arrived = [&base, &ros, &top, &small].map(|layer| layer.digest.clone());
        let there = Carriage { how: How::There, sent: 0 };
        let images = vec![image(&[&base, &late, &top]), image(&[&base, &ros, &small, &late])];
        let carried = Carried { images, layers: arrived.map(|layer| (layer, there.clone())).into(), sent: 0 };
        let found = lowest(&carried, &ros).unwrap();
        assert_eq!((found.layers, found.image.layers.len()), (3, 4));
        assert_eq!(lowest(&carried, &base).unwrap().layers, 3, "of two images the one that has more of them");
        assert_eq!(lowest(&carried, &top), None, "what is below it has not arrived");
        assert_eq!(lowest(&carried, &small), None, "too little to be worth it");
    }
}
