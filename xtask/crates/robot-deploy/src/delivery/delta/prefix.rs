//! What a robot can unpack while the rest is on its way: the lowest layers of an image, as soon as they have arrived.

use std::collections::BTreeSet;

use crate::digest::Digest;
use crate::image::layout::{Exported, Layer};

/// Bytes of a layer that are worth a pull of their own.
const LAYER: u64 = 8 << 20;

/// Bytes that have to be on their way yet, as they are before they are compressed: else the pull of the whole image
/// follows as soon.
const LEFT: u64 = 8 << 20;

/// For each of the layers that are sent, one after another, the image of whose lowest layers it completes the most, and
/// how many those are; none where the robot would gain nothing. Layers come with the bytes that travel for them.
pub fn find<'a, 'b>(
    images: &'a [Exported],
    there: &'b [Digest],
    sent: &[(&'b Layer, u64)],
) -> Vec<Option<(&'a Exported, usize)>> {
    let mut arrived: BTreeSet<&'b str> = there.iter().map(Digest::as_str).collect();
    let mut left: u64 = sent.iter().map(|(_, bytes)| bytes).sum();
    let prefix = |&(layer, bytes): &(&'b Layer, u64)| {
        left -= bytes;
        arrived.insert(&layer.digest);
        let has_arrived = |layer: &&Layer| arrived.contains(&*layer.digest);
        let found = images.iter().filter_map(|image| {
            let layers = image.layers.iter().take_while(has_arrived).count();
            image.layers[..layers].contains(layer).then_some((image, layers))
        });
        // Of equals the first, which is what the next one goes on with.
        let most = found.rev().max_by_key(|(_, layers)| *layers);
        most.filter(|_| layer.size >= LAYER && left >= LEFT)
    };
    sent.iter().map(prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::testing::digest;

    fn layer(name: &str) -> Layer {
        let size = if name == "small" { 1000 } else { LAYER };
        Layer { digest: digest(name), size, created_by: String::new() }
    }

    #[test]
    fn what_has_arrived_from_below_is_worth_it_while_much_is_left() {
        let image = |name: &str, layers: &[&str]| Exported {
            digest: digest(name),
            own_bytes: 0,
            layers: layers.iter().map(|name| layer(name)).collect(),
        };
        let images =
            [image("a", &["base", "old", "late", "top"]), image("b", &["base", "ros", "small", "end"])];
        let sent = ["base", "top", "ros", "small", "late", "end"].map(layer);
        let sent: Vec<(&Layer, u64)> = sent.iter().map(|layer| (layer, layer.size)).collect();
        let found = find(&images, &[digest("old")], &sent);
        let found: Vec<_> = found
            .into_iter()
            .map(|found| found.map(|(image, count)| (image.digest.clone(), count)))
            .collect();
        let expected = [
            Some((digest("a"), 2)),
            None, // `late`, which is below it, has not arrived
            Some((digest("b"), 2)),
            None, // too little to be worth it
            Some((digest("a"), 4)),
            None, // the last one
        ];
        assert_eq!(found, expected);
    }
}
