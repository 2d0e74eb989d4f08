//! Pulls on the robot: by digest, so that the engine has exactly the images that were verified, and then
//! named.

use super::Delivered;
use crate::error::{Failure, Result};
use crate::robot::Survey;

/// The reference of each image, and the two tags that it gets. `eurobot:navigation` is for people. The tag in
/// `repository`, from which the image is pulled, keeps the reference from being pruned: an engine with the
/// classic store prunes images that have only a digest. Images that are pulled come first; the others are on the robot
/// under a name that another delivery gave them.
pub(super) fn arguments(images: &[Delivered], repository: &str, project: &str) -> Vec<String> {
    let mut images: Vec<&Delivered> = images.iter().collect();
    images.sort_by_key(|image| !image.is_in(repository));
    let names = |delivered: &Delivered| {
        let Delivered { image, reference } = delivered;
        let repository = if delivered.is_in(repository) { repository } else { project };
        [reference.clone(), format!("{repository}:{image}"), format!("{project}:{image}")]
    };
    images.into_iter().flat_map(names).collect()
}

/// Returns the images that the robot did not have under all their names when it was surveyed.
pub(super) fn lacking(
    survey: &Survey,
    repository: &str,
    project: &str,
    images: &[Delivered],
) -> Vec<Delivered> {
    let id = |name: &str| survey.known().find(|known| known.is_called(name)).map(|known| &known.id);
    let is_named = |image: &&Delivered| {
        let ours = id(&image.reference);
        let is_ours = |repository: &str| id(&format!("{repository}:{}", image.image)) == ours;
        ours.is_some() && is_ours(project) && (!image.is_in(repository) || is_ours(repository))
    };
    images.iter().filter(|image| !is_named(image)).cloned().collect()
}

/// Fails unless the script's output has the references of all images that were pulled.
pub(super) fn check(robot: &str, repository: &str, images: &[Delivered], output: &str) -> Result<()> {
    for Delivered { image, reference } in images.iter().filter(|image| image.is_in(repository)) {
        if !output.split_whitespace().any(|word| word == reference) {
            return Err(Failure::failed(format!(
                "`{robot}` has no image {reference} after pulling `{image}`"
            ))
            .into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::robot::survey::EngineImage;

    #[test]
    fn images_without_one_of_their_names_are_pulled() {
        let image = |reference: &str, tag: &str, id: &str| EngineImage {
            reference: reference.to_owned(),
            tag: tag.to_owned(),
            id: id.to_owned(),
        };
        let pulled = |digest: &str| format!("127.0.0.1:5000/eurobot@sha256:{digest}");
        let delivered =
            |name: &str, digest: &str| Delivered { image: name.to_owned(), reference: pulled(digest) };
        let survey = Survey {
            images: vec![
                image(&pulled("a"), "camera", "1"),
                image("eurobot@<none>", "camera", "1"),
                image(&pulled("b"), "navigation", "2"),
                image("eurobot@<none>", "navigation", "other"),
                image(&pulled("c"), "<none>", "3"),
            ],
            ..Survey::default()
        };
        let images = [("camera", "a"), ("navigation", "b"), ("drive", "c"), ("arm", "d")]
            .map(|(n, d)| delivered(n, d));
        let lacking = lacking(&survey, "127.0.0.1:5000/eurobot", "eurobot", &images);
        let names: Vec<&str> = lacking.iter().map(|image| &*image.image).collect();
        assert_eq!(names, ["navigation", "drive", "arm"], "the name of another image, no name, no image");
    }
}
