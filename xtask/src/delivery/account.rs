//! Who brought which layer of which image: the courier, the push, or nobody because it was there.

use std::collections::BTreeSet;

use super::courier::{Carriage, Carried};
use crate::image::layout::Layer;
use crate::image::push::Layers;
use crate::timeline::{self, How};

/// The account of one robot.
#[derive(Debug)]
pub struct Account<'a> {
    robot: &'a str,
    carried: &'a Carried,
    seen: BTreeSet<&'a str>,
    reused: u64,
}

impl<'a> Account<'a> {
    /// An account to which the courier's part is known.
    pub fn new(robot: &'a str, carried: &'a Carried) -> Self {
        Self { robot, carried, seen: BTreeSet::new(), reused: 0 }
    }

    /// Bytes of the layers that were there, of all images that have been settled.
    pub fn reused(&self) -> u64 {
        self.reused
    }

    /// Settles an image that has been pushed, which took `sent` bytes: how many of its layers travelled, and
    /// how many bytes the courier needed for them.
    pub fn settle(&mut self, image: &str, manifest: &str, pushed: Layers, sent: u64) -> (Layers, u64) {
        let carried = self.carried;
        let exported = carried.images.iter().find(|exported| *exported.digest == *manifest);
        let layers = exported.map(|exported| exported.layers.as_slice()).unwrap_or_default();
        let left = |layer: &&Layer| !carried.layers.contains_key(&layer.digest);
        let by_push: u64 = layers
            .iter()
            .filter(left)
            .filter(|layer| !self.seen.contains(&*layer.digest))
            .map(|one| one.size)
            .sum();
        let (mut brought, mut bytes) = (0, 0);
        for layer in layers {
            // Of the layers that it carries the push tells the number only.
            let share = u128::from(sent) * u128::from(layer.size) / u128::from(by_push.max(1));
            let pushed = || Carriage { how: How::Push, sent: u64::try_from(share).unwrap_or(u64::MAX) };
            let carriage = carried.way(layer, &mut self.seen).unwrap_or_else(pushed);
            if matches!(carriage.how, How::Patch { .. } | How::Whole) {
                brought += 1;
                bytes += carriage.sent;
            }
            if carriage.how == How::There {
                self.reused += layer.size;
            }
            self.note(image, layer, carriage);
        }
        (Layers { sent: pushed.sent + brought, reused: pushed.reused.saturating_sub(brought) }, bytes)
    }

    fn note(&self, image: &str, layer: &Layer, carriage: Carriage) {
        timeline::layer(timeline::Layer {
            robot: self.robot.to_owned(),
            image: image.to_owned(),
            digest: layer.digest.to_string(),
            created_by: layer.created_by.clone(),
            size: layer.size,
            sent: carriage.sent,
            how: carriage.how,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::testing::digest;
    use crate::image::layout::Exported;

    fn image(name: &str, layers: &[&str]) -> Exported {
        let layer = |name: &&str| Layer { digest: digest(name), size: 100, created_by: String::new() };
        Exported { digest: digest(name), own_bytes: 0, layers: layers.iter().map(layer).collect() }
    }

    #[test]
    fn a_layer_that_two_images_have_travels_once() {
        let layers = [("old", How::There, 0), ("shared", How::Whole, 40)];
        let carriage = |(name, how, sent): (&str, How, u64)| (digest(name), Carriage { how, sent });
        let carried = Carried {
            images: vec![image("m1", &["old", "shared"]), image("m2", &["shared", "pushed"])],
            layers: layers.into_iter().map(carriage).collect(),
            sent: 40,
        };
        let mut account = Account::new("main", &carried);
        let pushed = |sent, reused| Layers { sent, reused };
        assert_eq!(account.settle("one", &digest("m1"), pushed(0, 2), 7), (pushed(1, 1), 40));
        assert_eq!(account.settle("two", &digest("m2"), pushed(1, 1), 60), (pushed(1, 1), 0));
        assert_eq!(account.reused(), 200, "`old`, and `shared` for the second image");
    }
}
