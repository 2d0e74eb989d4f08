//! The robot's registry: a Unix socket that the fake `ssh -O forward` links to, with a minimal HTTP server.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::lab::Lab;

const IMAGES: [&str; 2] = ["camera", "navigation"];

/// Bytes of the only layer of both images.
const LAYER: u64 = 400_000;

/// Configuration of both images, with the fields that this machine reads.
const CONFIG: &str = "{\"history\":[]}";

/// The script that tags loaded images prints their digests.
const NAME: &str = r#"cat >/dev/null
: >"$lab/pulled"
for argument in $last; do
    case $argument in eurobot:*-*) reference=$argument ;; sha256:*) printf '%s %s\n' "$reference" "$argument" ;; esac
done"#;

/// A registry that has the images that `docker buildx bake` reports.
pub(crate) struct Registry;

impl Registry {
    /// Starts the registry, and tells the fakes its content.
    pub(crate) fn start(lab: &Lab) -> Self {
        let registry = Self;
        let metadata = IMAGES.map(|image| {
            let config = json!(config(image));
            (image, json!({ "containerimage.digest": registry.digest(image), "containerimage.config.digest": config }))
        });
        let metadata: serde_json::Map<_, _> =
            metadata.into_iter().map(|(image, digests)| (image.to_owned(), digests)).collect();
        fs::write(lab.dir.join("metadata"), serde_json::to_string(&metadata).unwrap()).unwrap();
        let reference = |image: &str| format!("127.0.0.1:5000/eurobot@{}", registry.digest(image));
        let lines = |line: &dyn Fn(&str) -> String| IMAGES.map(line).concat();
        let images = lines(&|image| {
            let pulled = reference(image);
            let row = |name: &str| format!("image\t{name}\t{image}\tsha256:id-{image}\n");
            row(&pulled) + &row("eurobot@<none>")
        });
        fs::write(lab.dir.join("images"), images).unwrap();
        let containers = lines(&|image| {
            format!(
                "container\t{image}\t{}\tsha256:id-{image}\trunning\t0\t2026-01-01T00:00:00Z\thealthy\t0\tcafe\n",
                reference(image)
            )
        });
        fs::write(lab.dir.join("containers"), containers).unwrap();
        registry.export(lab);
        Self::serve(lab, answer);
        registry
    }

    /// A registry that answers every request with `body`.
    pub(crate) fn that_says(lab: &Lab, body: &'static str) {
        Self::start(lab);
        fs::remove_file(lab.dir.join("registry")).unwrap();
        Self::serve(lab, move |_| Some(body.to_owned()));
    }

    fn serve(lab: &Lab, answer: impl Fn(&str) -> Option<String> + Send + Copy + 'static) {
        let listener = UnixListener::bind(lab.dir.join("registry")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // The thread ends with the test.
                std::thread::spawn(move || drop(converse(stream, answer)));
            }
        });
    }

    /// From now on images are sent as archives: the last archive that the robot loaded is `loaded.tar.zst`.
    pub(crate) fn save(&self, lab: &Lab) {
        lab.on("docker", "'save '*", "cat \"$lab/saved.tar\"");
        lab.on("ssh", "*\"'docker load'\"|*'docker load'", "cat >\"$lab/loaded.tar.zst\"");
        lab.on("ssh", "*'sh -s -- eurobot:'*", NAME);
        fs::write(lab.dir.join("saved.tar"), self.saved()).unwrap();
        let short = |image: &str| self.digest(image)[7..19].to_owned();
        let (camera, navigation) = (short("camera"), short("navigation"));
        let row = |image: &str, hex: &str| {
            let name = format!("eurobot@{}", self.digest(image));
            let id = self.digest(image);
            format!("image\t{name}\t{image}\t{id}\nimage\t{name}\t{image}-{hex}\t{id}\n")
        };
        fs::write(lab.dir.join("images"), row("camera", &camera) + &row("navigation", &navigation)).unwrap();
        let container = |image: &str, hex: &str| {
            let id = self.digest(image);
            format!(
                "container\t{image}\teurobot:{image}-{hex}\t{id}\trunning\t0\t2026-01-01T00:00:00Z\thealthy\t0\tcafe\n"
            )
        };
        let containers = container("camera", &camera) + &container("navigation", &navigation);
        fs::write(lab.dir.join("containers"), containers).unwrap();
    }

    /// Writes the exported images, so that this machine has their layers.
    fn export(&self, lab: &Lab) {
        let blobs = lab.root.join("target/xtask/layers/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        let blob = |digest: &str| fs::File::create(blobs.join(digest.trim_start_matches("sha256:"))).unwrap();
        for image in IMAGES {
            blob(&self.digest(image)).write_all(manifest(image).as_bytes()).unwrap();
            blob(&config(image)).write_all(CONFIG.as_bytes()).unwrap();
        }
        blob(&digest("layer")).set_len(LAYER).unwrap();
    }

    /// Digest of the layer that all images have.
    pub(crate) fn layer() -> String {
        digest("layer")
    }

    /// Digest of an image's manifest.
    pub(crate) fn digest(&self, image: &str) -> String {
        digest(&manifest(image))
    }

    /// Output of `docker save` for all images.
    pub(crate) fn saved(&self) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: String, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        };
        let blob = |digest: String| format!("blobs/sha256/{}", &digest[7..]);
        add(blob(digest("layer")), "layer");
        IMAGES.iter().for_each(|image| add(blob(self.digest(image)), &manifest(image)));
        let manifests =
            IMAGES.map(|image| json!({ "digest": self.digest(image), "size": manifest(image).len() }));
        add("index.json".to_owned(), &json!({ "manifests": manifests }).to_string());
        archive.into_inner().unwrap()
    }

    /// Local port of the tunnel; other tests may use the first ports.
    pub(crate) fn port_seen(&self, lab: &Lab) -> String {
        let pushed = lab.calls_of("docker push 127.0.0.1:");
        pushed[0].split(['/', ':']).nth(1).unwrap().to_owned()
    }
}

fn digest(text: &str) -> String {
    format!("sha256:{:x}", Sha256::digest(text))
}

fn config(image: &str) -> String {
    digest(image)
}

fn manifest(image: &str) -> String {
    let layers = json!([{ "digest": digest("layer"), "size": LAYER }]);
    json!({ "schemaVersion": 2, "config": { "digest": config(image), "size": CONFIG.len() }, "layers": layers })
        .to_string()
}

fn answer(path: &str) -> Option<String> {
    if path == "/v2/" {
        return Some("{}".to_owned());
    }
    IMAGES.into_iter().find(|image| path == format!("/v2/eurobot/manifests/{image}")).map(manifest)
}

fn converse(stream: UnixStream, answer: impl Fn(&str) -> Option<String>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let path = request.split_whitespace().nth(1).unwrap_or_default();
        let (status, body) = answer(path).map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
        let api =
            if body.starts_with('<') { "" } else { "Docker-Distribution-Api-Version: registry/2.0\r\n" };
        write!(writer, "HTTP/1.1 {status}\r\n{api}Content-Length: {}\r\n\r\n{body}", body.len())?;
    }
}
