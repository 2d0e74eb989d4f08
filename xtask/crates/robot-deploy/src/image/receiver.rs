//! Registry on this machine's loopback interface for the duration of an export: blobs from `docker push`
//! become files of an image layout.
//!
//! A push sends exactly the image that was built, first asks for existing blobs, and sends the others
//! unchanged. BuildKit's own export to a layout builds again and takes three times as long for a large layer
//! (13 s instead of 4 s for 740 MB), because it waits for a reply to each chunk.
//!
//! OCI distribution specification, "Pushing blobs" and "Pushing manifests": implemented is the part that
//! `docker push` uses with the containerd store.
//!
//! Every later deploy reads the pushed blobs. Therefore only this user and Docker's engine may connect (see
//! [`Listener`]), requests from web pages are refused, the repository name is random for each export, and a
//! digest is validated before it becomes part of a path.

use std::io::{self, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;

use super::layout::Layout;
use super::oci::{self, MANIFEST_LIMIT};
use crate::digest::Digest;
use crate::error::Result;
use crate::files;
use crate::http::{self, Body, Head};
use crate::loopback::Listener;

/// Preferred port, outside of the range for tunnels.
const PORT: u16 = 5101;

/// Largest blob in bytes, more than any real layer.
const BLOB_LIMIT: u64 = 64 << 30;

/// Running registry; it stops when this guard is dropped.
#[derive(Debug)]
pub(super) struct Receiver {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    /// Random first part of the accepted repositories.
    name: String,
    /// First error of a push.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Receiver {
    /// Starts the registry on a free port.
    pub(super) fn start(layout: &Layout) -> Result<Self> {
        let name = files::random().context("choose a random name for an export")?;
        let shared = Arc::new(Shared { layout: layout.clone(), name, failure: Mutex::new(None) });
        let serving = Arc::clone(&shared);
        let listener = Listener::start(PORT, move |client| {
            let shared = Arc::clone(&serving);
            // The thread ends when `docker push` closes the connection.
            std::thread::spawn(move || shared.serve(&client));
        })?;
        Ok(Self { listener, shared })
    }

    /// Port that images can be pushed to.
    pub(super) fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Repository that images can be pushed to. `layers` in it tells users who watch that no robot is
    /// involved.
    pub(super) fn repository(&self, project: &str) -> String {
        format!("{}/layers/{project}", self.shared.name)
    }

    /// First error of a push, returned once.
    pub(super) fn failure(&self) -> Option<anyhow::Error> {
        self.shared.failure.lock().take()
    }
}

/// Response without a body.
#[derive(Debug, PartialEq, Eq)]
struct Response {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Response {
    fn new(status: &'static str) -> Self {
        Self { status, headers: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn to_text(&self) -> String {
        let mut text =
            format!("HTTP/1.1 {}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n", self.status);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !self.headers.iter().any(|(name, _)| *name == "Content-Length") {
            text.push_str("Content-Length: 0\r\n");
        }
        text + "\r\n"
    }
}

impl Shared {
    /// Serves a connection and records its error.
    fn serve(&self, client: &TcpStream) {
        if let Err(error) = self.handle_requests(client) {
            // The first error explains the others.
            self.failure.lock().get_or_insert(error);
        }
    }

    fn handle_requests(&self, mut client: &TcpStream) -> Result<()> {
        if http::is_tls(client).context("read a push request")? {
            http::answer_tls(client);
            return Ok(());
        }
        let port = client.local_addr().context("read a push request")?.port();
        let mut requests = BufReader::with_capacity(256 << 10, client);
        while let Some(read) = Head::read(&mut requests, port).context("read a push request")? {
            let (head, length) = match read.and_then(|head| Ok((self.length(&head)?, head))) {
                Ok((length, head)) => (head, length),
                Err(refusal) => {
                    http::refuse(client, refusal);
                    return Ok(());
                }
            };
            if head.waits() {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").context("answer a push request")?;
            }
            let mut body = (&mut requests).take(length);
            let response = self.respond(&head, &mut body)?;
            io::copy(&mut body, &mut io::sink()).context("read a push request")?;
            client.write_all(response.to_text().as_bytes()).context("answer a push request")?;
        }
        Ok(())
    }

    /// Metadata of a blob in the layout.
    fn blob(&self, digest: &str) -> Option<std::fs::Metadata> {
        self.layout.blob(&digest.parse().ok()?).metadata().ok()
    }

    /// Length of a request's body, if it is acceptable.
    fn length(&self, head: &Head) -> Result<u64, http::Refusal> {
        let limit = if head.target.contains("/manifests/") { MANIFEST_LIMIT } else { BLOB_LIMIT };
        match head.body {
            Body::Length(length) if length <= limit => Ok(length),
            Body::Length(_) => Err(http::Refusal("413 Content Too Large")),
            Body::Chunked => Err(http::Refusal("411 Length Required")),
        }
    }

    fn respond(&self, head: &Head, body: &mut impl Read) -> Result<Response> {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let resource = match &words[..] {
            ["v2"] if head.method == "GET" => return Ok(Response::new("200 OK")),
            ["v2", name, resource @ ..] if *name == self.name => resource,
            _ => return Ok(Response::new("404 Not Found")),
        };
        // The colon is the only character of a digest that may be percent-encoded (RFC 3986, section 2.1).
        let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
        let digest: Option<Digest> = digest.and_then(|text| text.replace("%3A", ":").parse().ok());
        Ok(match (head.method.as_str(), resource) {
            ("HEAD", [.., "blobs", digest]) => match self.blob(digest) {
                Some(blob) => Response::new("200 OK")
                    .with("Content-Length", blob.len().to_string())
                    .with("Docker-Content-Digest", *digest),
                None => Response::new("404 Not Found"),
            },
            ("POST", [.., "blobs", "uploads"]) => {
                Response::new("202 Accepted").with("Location", format!("/{}/upload", words.join("/")))
            }
            ("PUT", [.., "blobs", "uploads", "upload"]) => match digest {
                Some(digest) => {
                    self.layout.receive(body, &digest)?;
                    Response::new("201 Created").with("Docker-Content-Digest", digest.to_string())
                }
                None => Response::new("400 Bad Request"),
            },
            ("PUT", [.., "manifests", _]) => self.receive_manifest(body)?,
            // Includes the query for a manifest: none exists before it is pushed.
            _ => Response::new("404 Not Found"),
        })
    }

    fn receive_manifest(&self, body: &mut impl Read) -> Result<Response> {
        let mut manifest = Vec::new();
        body.read_to_end(&mut manifest).context("read a push request")?;
        // Parsing makes sure that it refers to blobs by valid digests only.
        if serde_json::from_slice::<oci::OciManifest>(&manifest).is_err() {
            return Ok(Response::new("400 Bad Request"));
        }
        let digest = self.layout.receive_manifest(&manifest)?;
        Ok(Response::new("201 Created").with("Docker-Content-Digest", digest.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Shutdown};

    use camino::Utf8PathBuf;

    use super::*;
    use crate::digest::testing::digest;

    fn receiver(guard: &tempfile::TempDir) -> (Layout, Receiver) {
        let layout = Layout::at(Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap());
        let receiver = Receiver::start(&layout).unwrap();
        (layout, receiver)
    }

    /// Sends `requests` over one connection and returns the responses; NAME stands for the random name.
    fn send(receiver: &Receiver, requests: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, receiver.port())).unwrap();
        stream.write_all(requests.replace("NAME", &receiver.shared.name).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn status(answer: &str) -> Vec<&str> {
        answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).collect()
    }

    fn request(method: &str, path: &str, body: &str) -> String {
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    fn put(path: &str, body: &str) -> String {
        request("PUT", path, body)
    }

    /// Manifest of an image with one layer.
    fn manifest(config: (&str, usize), layer: (&str, usize)) -> String {
        let blob = |(digest, size): (&str, usize)| format!(r#"{{"digest":"{digest}","size":{size}}}"#);
        format!(r#"{{"config":{},"layers":[{}]}}"#, blob(config), blob(layer))
    }

    #[test]
    fn a_push_becomes_an_image_of_the_layout() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let (config, layer) = (r#"{"history":[{"created_by":"RUN x"}]}"#, "a layer");
        let manifest = manifest((&digest(config), config.len()), (&digest(layer), layer.len()));
        // All requests over one connection, like Docker.
        let ask = request("HEAD", &format!("/v2/NAME/b/blobs/{}", digest(layer)), "");
        let upload = |text: &str| {
            let query = digest(text).replace(':', "%3A");
            put(&format!("/v2/NAME/b/blobs/uploads/upload?digest={query}"), text)
        };
        let begin = request("POST", "/v2/NAME/b/blobs/uploads/", "");
        let words =
            [&ask, &begin, &upload(layer), &upload(config), &ask, &put("/v2/NAME/b/manifests/t", &manifest)];
        let answer = send(&receiver, &words.map(String::as_str).concat());
        assert_eq!(
            status(&answer),
            ["404 Not Found", "202 Accepted", "201 Created", "201 Created", "200 OK", "201 Created"]
        );
        let place = format!("Location: /v2/{}/b/blobs/uploads/upload\r\n", receiver.shared.name);
        assert!(answer.contains(&place), "{answer}");
        let image = layout.image(&digest(&manifest)).unwrap();
        assert_eq!((image.layers[0].size, image.layers[0].created_by.as_str()), (7, "RUN x"));
        assert_eq!(layout.histories()[&digest(layer)], "RUN x");
        assert!(receiver.failure().is_none());
        Ok(())
    }

    #[test]
    fn a_blob_with_another_digest_is_refused() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let other = digest("other");
        let upload = put(&format!("/v2/NAME/blobs/uploads/upload?digest={other}"), "text");
        assert_eq!(send(&receiver, &upload), "", "the connection is closed");
        assert!(!layout.blob(&other).exists());
        let error = receiver.failure().unwrap();
        assert!(format!("{error:#}").contains("has the digest sha256:"), "{error:#}");

        // Nothing is kept of a truncated blob either.
        let cut = upload.replace("Content-Length: 4", "Content-Length: 40");
        assert_eq!(send(&receiver, &cut), "");
        assert!(receiver.failure().is_some());
        assert_eq!(layout.blobs(), [].into());
        Ok(())
    }

    /// A path in the place of a digest. Every later deploy reads the configurations of all images:
    /// `/dev/zero` would be read until memory is exhausted.
    #[test]
    fn a_digest_that_is_a_path_is_refused() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let elsewhere = "sha256:../../../../../../../../../../dev/null";
        let layer = digest("");
        for manifest in [manifest((elsewhere, 0), (&layer, 0)), manifest((&layer, 0), (elsewhere, 0))] {
            let answer = send(&receiver, &put("/v2/NAME/b/manifests/t", &manifest));
            assert_eq!(status(&answer), ["400 Bad Request"]);
        }
        let ask = request("HEAD", &format!("/v2/NAME/b/blobs/{elsewhere}"), "");
        let upload = put(&format!("/v2/NAME/b/blobs/uploads/upload?digest={elsewhere}"), "");
        for text in [ask, upload] {
            assert!(!send(&receiver, &text).contains(" 20"), "{text}");
        }
        assert!(layout.histories().is_empty() && layout.blobs().is_empty());
        Ok(())
    }

    #[test]
    fn requests_of_strangers_are_refused() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let upload = put(&format!("/v2/NAME/blobs/uploads/upload?digest={}", digest("text")), "text");
        let cases = [
            (upload.replace("NAME", "other"), "404 Not Found"),
            (upload.replace("Host: localhost", "Host: evil.example"), "403 Forbidden"),
            (upload.replace("Length: 4", "Length: 68719476737"), "413 Content Too Large"),
            (
                put("/v2/NAME/manifests/t", "{}").replace("Length: 2", "Length: 4194305"),
                "413 Content Too Large",
            ),
            (upload.replace("Content-Length: 4", "Transfer-Encoding: chunked"), "411 Length Required"),
        ];
        for (text, expected) in cases {
            assert_eq!(status(&send(&receiver, &text)), [expected]);
        }
        assert!(layout.blobs().is_empty());
        assert!(receiver.failure().is_none(), "a stranger's request is not a failure of the push");
        Ok(())
    }

    #[test]
    fn tls_is_answered_in_plain_http() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (_layout, receiver) = receiver(&guard);
        assert!(send(&receiver, "\x16\x03\x01\x02\x00").starts_with("HTTP/1.0 400"));
        assert!(receiver.failure().is_none());
        Ok(())
    }
}
