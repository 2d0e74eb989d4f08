//! Who brought which layer of which image: the courier, the push, or nobody because it was there.

use std::collections::BTreeSet;

use super::delta::{LayerReport, TransferReport};
use crate::image::layout::Layer;
use crate::image::push::Layers;
use crate::timeline::{self, Transport};

/// The account of one robot.
#[derive(Debug)]
pub struct TransferStats<'a> {
    robot: &'a str,
    report: &'a TransferReport,
    seen: BTreeSet<&'a str>,
    reused: u64,
}

impl<'a> TransferStats<'a> {
    /// An account to which the courier's part is known.
    pub fn new(robot: &'a str, report: &'a TransferReport) -> Self {
        Self { robot, report, seen: BTreeSet::new(), reused: 0 }
    }

    /// Bytes of the layers that were there, of all images that have been settled.
    pub fn reused(&self) -> u64 {
        self.reused
    }

    /// Settles an image that has been pushed, which took `sent` bytes: how many of its layers travelled, and
    /// how many bytes the courier needed for them.
    pub fn record(&mut self, image: &str, manifest: &str, pushed: Layers, sent: u64) -> (Layers, u64) {
        let report = self.report;
        let exported = report.images.iter().find(|exported| *exported.digest == *manifest);
        let layers = exported.map(|exported| exported.layers.as_slice()).unwrap_or_default();
        let left = |layer: &&Layer| !report.layers.contains_key(&layer.digest);
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
            let pushed =
                || LayerReport { how: Transport::Push, sent: u64::try_from(share).unwrap_or(u64::MAX) };
            let layer_report = report.report_for(layer, &mut self.seen).unwrap_or_else(pushed);
            if matches!(layer_report.how, Transport::Patch { .. } | Transport::Whole) {
                brought += 1;
                bytes += layer_report.sent;
            }
            if layer_report.how == Transport::There {
                self.reused += layer.size;
            }
            self.note(image, layer, layer_report);
        }
        (Layers { sent: pushed.sent + brought, reused: pushed.reused.saturating_sub(brought) }, bytes)
    }

    fn note(&self, image: &str, layer: &Layer, layer_report: LayerReport) {
        timeline::layer(timeline::Layer {
            robot: self.robot.to_owned(),
            image: image.to_owned(),
            digest: layer.digest.to_string(),
            created_by: layer.created_by.clone(),
            size: layer.size,
            sent: layer_report.sent,
            how: layer_report.how,
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
        let layers = [("old", Transport::There, 0), ("shared", Transport::Whole, 40)];
        let layer_report =
            |(name, how, sent): (&str, Transport, u64)| (digest(name), LayerReport { how, sent });
        let report = TransferReport {
            images: vec![image("m1", &["old", "shared"]), image("m2", &["shared", "pushed"])],
            layers: layers.into_iter().map(layer_report).collect(),
            sent: 40,
        };
        let mut stats = TransferStats::new("main", &report);
        let pushed = |sent, reused| Layers { sent, reused };
        assert_eq!(stats.record("one", &digest("m1"), pushed(0, 2), 7), (pushed(1, 1), 40));
        assert_eq!(stats.record("two", &digest("m2"), pushed(1, 1), 60), (pushed(1, 1), 0));
        assert_eq!(stats.reused(), 200, "`old`, and `shared` for the second image");
    }
}
