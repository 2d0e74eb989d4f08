//! Transfer statistics: layers and bytes of each image by delta transfer and by `docker push`.

use std::collections::BTreeSet;

use super::delta::{LayerReport, TransferReport};
use crate::image::layout::Layer;
use crate::image::push::Layers;
use crate::timeline::{self, Transport};

#[derive(Debug)]
pub(super) struct TransferStats<'a> {
    robot: &'a str,
    report: &'a TransferReport,
    seen: BTreeSet<&'a str>,
    reused: u64,
}

impl<'a> TransferStats<'a> {
    /// Starts with the report of the delta transfer.
    pub(super) fn new(robot: &'a str, report: &'a TransferReport) -> Self {
        Self { robot, report, seen: BTreeSet::new(), reused: 0 }
    }

    /// Bytes of the layers that the robot had, in all recorded images.
    pub(super) fn reused(&self) -> u64 {
        self.reused
    }

    /// Records an image whose push took `sent` bytes. Returns the number of its layers that were sent and
    /// reused, and the bytes of its deltas.
    pub(super) fn record(&mut self, image: &str, manifest: &str, pushed: Layers, sent: u64) -> (Layers, u64) {
        let report = self.report;
        let exported = report.images.iter().find(|exported| *exported.digest == *manifest);
        let layers = exported.map(|exported| exported.layers.as_slice()).unwrap_or_default();
        let by_push: u64 = layers
            .iter()
            .filter(|layer| !report.layers.contains_key(&layer.digest))
            .filter(|layer| !self.seen.contains(&*layer.digest))
            .map(|layer| layer.size)
            .sum();
        let (mut by_delta, mut delta_bytes) = (0, 0);
        for layer in layers {
            // A push reports only the number of layers: its bytes are divided by their sizes.
            let share = u128::from(sent) * u128::from(layer.size) / u128::from(by_push.max(1));
            let pushed =
                || LayerReport { how: Transport::Push, sent: u64::try_from(share).unwrap_or(u64::MAX) };
            let layer_report = report.report_for(layer, &mut self.seen).unwrap_or_else(pushed);
            if matches!(layer_report.how, Transport::Patch { .. } | Transport::Whole) {
                by_delta += 1;
                delta_bytes += layer_report.sent;
            }
            if layer_report.how == Transport::There {
                self.reused += layer.size;
            }
            self.record_layer(image, layer, layer_report);
        }
        let layers = Layers { sent: pushed.sent + by_delta, reused: pushed.reused.saturating_sub(by_delta) };
        (layers, delta_bytes)
    }

    fn record_layer(&self, image: &str, layer: &Layer, layer_report: LayerReport) {
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
        Exported { digest: digest(name), layers: layers.iter().map(layer).collect() }
    }

    #[test]
    fn a_layer_of_two_images_is_sent_once() {
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
