//! Prefix images: images of the lowest layers of another image, which a robot can unpack while the rest is
//! being sent.

use std::collections::BTreeSet;

use crate::digest::Digest;
use crate::image::layout::{Exported, Layer};

/// Smallest layer, in bytes, that is worth a pull of its own.
const MIN_LAYER: u64 = 8 << 20;

/// Bytes that are still to be sent at least, before compression. With fewer the pull of the whole image
/// follows so soon that an early pull gains nothing.
const MIN_LEFT: u64 = 8 << 20;

/// Finds, for each layer in the order of sending, the image of which it completes the longest prefix, and the
/// number of layers in that prefix; none where an early pull would gain nothing. `sent` has each layer with
/// its bytes to send.
pub(super) fn find<'a, 'b>(
    images: &'a [Exported],
    present: &'b [Digest],
    sent: &[(&'b Layer, u64)],
) -> Vec<Option<(&'a Exported, usize)>> {
    let mut arrived: BTreeSet<&'b str> = present.iter().map(Digest::as_str).collect();
    let mut left: u64 = sent.iter().map(|(_, bytes)| bytes).sum();
    let mut prefixes = Vec::new();
    for (layer, bytes) in sent {
        left -= bytes;
        arrived.insert(&layer.digest);
        let is_worth_it = layer.size >= MIN_LAYER && left >= MIN_LEFT;
        prefixes.push(longest_prefix(images, layer, &arrived).filter(|_| is_worth_it));
    }
    prefixes
}

/// Returns the image with the longest prefix of layers that have arrived, `layer` among them; of equals the
/// first, because its next layers are sent first.
fn longest_prefix<'a>(
    images: &'a [Exported],
    layer: &Layer,
    arrived: &BTreeSet<&str>,
) -> Option<(&'a Exported, usize)> {
    let found = images.iter().filter_map(|image| {
        let layers = image.layers.iter().take_while(|layer| arrived.contains(&*layer.digest)).count();
        image.layers[..layers].contains(layer).then_some((image, layers))
    });
    found.rev().max_by_key(|(_, layers)| *layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::testing::digest;

    fn layer(name: &str) -> Layer {
        let size = if name == "small" { 1000 } else { MIN_LAYER };
        Layer { digest: digest(name), size, created_by: String::new() }
    }

    #[test]
    fn prefixes_are_found_while_much_is_left_to_send() {
        let image = |name: &str, layers: &[&str]| Exported {
            digest: digest(name),
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
            None, // `late`, which is below `top`, has not arrived
            Some((digest("b"), 2)),
            None, // the layer is too small
            Some((digest("a"), 4)),
            None, // nothing is left to send
        ];
        assert_eq!(found, expected);
    }
}
