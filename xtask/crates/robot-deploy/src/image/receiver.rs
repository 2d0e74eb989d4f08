//! A registry on this machine's loopback interface, for as long as an export takes: what `docker push` brings
//! becomes files of an image layout.
//!
//! A push brings exactly the image that was built, asks first what is there, and hands the rest over as it is.
//! BuildKit's own export of a layout builds once more, and takes three times as long for a large layer (13 s
//! instead of 4 s for 740 MB): it waits for an answer to each piece of it.
//!
//! OCI distribution specification, "Pushing blobs" and "Pushing manifests": of what it allows, the part that
//! Docker's push of an image uses whose store has it as it is pushed.
//!
//! Pushed blobs become files that every later deploy reads. So only this user and Docker's engine are let in (see
//! [`Listener`]), no web page, and only below a name that this export has made up; and a digest is a digest before it
//! becomes a path.

use std::io::{self, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

use super::layout::Layout;
use super::oci::{self, MANIFEST_LIMIT};
use crate::digest::Digest;
use crate::error::Result;
use crate::files;
use crate::http::{self, Body, Head};
use crate::loopback::Listener;

/// The port that it listens on where that is free: one that no tunnel has.
const PORT: u16 = 5101;

/// Most bytes of a blob: more than any image has in a layer.
const BLOB_LIMIT: u64 = 64 << 30;

/// See the module. It stops with this guard.
#[derive(Debug)]
pub struct Receiver {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    /// First part of the repositories that are taken.
    name: String,
    /// Why something could not be taken.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Receiver {
    /// Starts to listen.
    ///
    /// # Errors
    /// Fails when no port is free.
    pub fn start(layout: &Layout) -> Result<Self> {
        let name = files::random().context("make up a name for an export")?;
        let shared = Arc::new(Shared { layout: layout.clone(), name, failure: Mutex::new(None) });
        let serving = Arc::clone(&shared);
        let listener = Listener::start(PORT, move |client| {
            let shared = Arc::clone(&serving);
            // It ends with its connection, which the push closes.
            std::thread::spawn(move || shared.serve(&client));
        })?;
        Ok(Self { listener, shared })
    }

    /// The port that images can be pushed to.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// A repository that images can be pushed to, for those who watch: nothing of it goes to a robot.
    pub fn repository(&self, project: &str) -> String {
        format!("{}/layers/{project}", self.shared.name)
    }

    /// Why something could not be taken, if that happened; told once.
    pub fn failure(&self) -> Option<anyhow::Error> {
        self.shared.failure().take()
    }
}

/// An answer without a body.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Answer {
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
    fn failure(&self) -> MutexGuard<'_, Option<anyhow::Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers all requests of a connection.
    fn serve(&self, client: &TcpStream) {
        if let Err(error) = self.converse(client) {
            // The first one explains the others.
            let _first = self.failure().get_or_insert(error);
        }
    }

    fn converse(&self, mut client: &TcpStream) -> Result<()> {
        if http::is_tls(client).context("hear a push")? {
            http::answer_tls(client);
            return Ok(());
        }
        let port = client.local_addr().context("hear a push")?.port();
        let mut requests = BufReader::with_capacity(256 << 10, client);
        while let Some(read) = Head::read(&mut requests, port).context("hear a push")? {
            let (head, length) = match read.and_then(|head| Ok((self.length(&head)?, head))) {
                Ok((length, head)) => (head, length),
                Err(refusal) => {
                    http::refuse(client, refusal);
                    return Ok(());
                }
            };
            if head.waits() {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").context("answer a push")?;
            }
            let mut body = (&mut requests).take(length);
            let answer = self.answer(&head, &mut body)?;
            let _unread = io::copy(&mut body, &mut io::sink()).context("hear a push")?;
            client.write_all(answer.to_text().as_bytes()).context("answer a push")?;
        }
        Ok(())
    }

    /// A blob that is here.
    fn blob(&self, digest: &str) -> Option<std::fs::Metadata> {
        self.layout.blob(&digest.parse().ok()?).metadata().ok()
    }

    /// The bytes that a request brings, if they may come.
    fn length(&self, head: &Head) -> Result<u64, http::Refusal> {
        let limit = if head.target.contains("/manifests/") { MANIFEST_LIMIT } else { BLOB_LIMIT };
        match head.body {
            Body::Length(length) if length <= limit => Ok(length),
            Body::Length(_) => Err(http::Refusal("413 Content Too Large")),
            Body::Chunked => Err(http::Refusal("411 Length Required")),
        }
    }

    fn answer(&self, head: &Head, body: &mut impl Read) -> Result<Answer> {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let words: Vec<&str> = path.trim_matches('/').split('/').collect();
        let place = match &words[..] {
            ["v2"] if head.method == "GET" => return Ok(Answer::new("200 OK")),
            ["v2", name, place @ ..] if *name == self.name => place,
            _ => return Ok(Answer::new("404 Not Found")),
        };
        // Of a digest nothing but the colon may be written in another way (RFC 3986, section 2.1).
        let digest = query.split('&').find_map(|pair| pair.strip_prefix("digest="));
        let digest: Option<Digest> = digest.and_then(|text| text.replace("%3A", ":").parse().ok());
        Ok(match (head.method.as_str(), place) {
            ("HEAD", [.., "blobs", digest]) => match self.blob(digest) {
                Some(blob) => Answer::new("200 OK")
                    .with("Content-Length", blob.len().to_string())
                    .with("Docker-Content-Digest", *digest),
                None => Answer::new("404 Not Found"),
            },
            ("POST", [.., "blobs", "uploads"]) => {
                Answer::new("202 Accepted").with("Location", format!("/{}/upload", words.join("/")))
            }
            ("PUT", [.., "blobs", "uploads", "upload"]) => match digest {
                Some(digest) => {
                    self.layout.receive(body, &digest)?;
                    Answer::new("201 Created").with("Docker-Content-Digest", digest.to_string())
                }
                None => Answer::new("400 Bad Request"),
            },
            ("PUT", [.., "manifests", _]) => {
                let mut manifest = Vec::new();
                let _count = body.read_to_end(&mut manifest).context("hear a push")?;
                // It names blobs by digests only.
                if serde_json::from_slice::<oci::OciManifest>(&manifest).is_err() {
                    return Ok(Answer::new("400 Bad Request"));
                }
                let digest = self.layout.receive_manifest(&manifest)?;
                Answer::new("201 Created").with("Docker-Content-Digest", digest.to_string())
            }
            // A tag has no manifest before it is pushed.
            _ => Answer::new("404 Not Found"),
        })
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

    /// Answer of a registry to the words of one connection; NAME is what its repositories begin with.
    fn say(receiver: &Receiver, words: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, receiver.port())).unwrap();
        stream.write_all(words.replace("NAME", &receiver.shared.name).as_bytes()).unwrap();
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

    /// A manifest of an image with one layer.
    fn manifest(config: (&str, usize), layer: (&str, usize)) -> String {
        let blob = |(digest, size): (&str, usize)| format!(r#"{{"digest":"{digest}","size":{size}}}"#);
        format!(r#"{{"config":{},"layers":[{}]}}"#, blob(config), blob(layer))
    }

    #[test]
    fn what_is_pushed_becomes_an_image_of_the_layout() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let (config, layer) = (r#"{"history":[{"created_by":"RUN x"}]}"#, "a layer");
        let manifest = manifest((&digest(config), config.len()), (&digest(layer), layer.len()));
        // One connection for all, as Docker has it.
        let ask = request("HEAD", &format!("/v2/NAME/b/blobs/{}", digest(layer)), "");
        let upload = |text: &str| {
            let query = digest(text).replace(':', "%3A");
            put(&format!("/v2/NAME/b/blobs/uploads/upload?digest={query}"), text)
        };
        let begin = request("POST", "/v2/NAME/b/blobs/uploads/", "");
        let words =
            [&ask, &begin, &upload(layer), &upload(config), &ask, &put("/v2/NAME/b/manifests/t", &manifest)];
        let answer = say(&receiver, &words.map(String::as_str).concat());
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
    fn what_is_not_what_it_is_called_is_not_taken() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let other = digest("other");
        let upload = put(&format!("/v2/NAME/blobs/uploads/upload?digest={other}"), "text");
        assert_eq!(say(&receiver, &upload), "", "the connection is closed");
        assert!(!layout.blob(&other).exists());
        let error = receiver.failure().unwrap();
        assert!(format!("{error:#}").contains("is not what it is called"), "{error:#}");

        // One that breaks off leaves nothing either.
        let cut = upload.replace("Content-Length: 4", "Content-Length: 40");
        assert_eq!(say(&receiver, &cut), "");
        assert!(receiver.failure().is_some());
        assert_eq!(layout.blobs(), [].into());
        Ok(())
    }

    /// A file elsewhere, called as a digest is. Every later deploy reads the configurations of all images: one of
    /// `/dev/zero`, which has no size, would be read until memory ends.
    #[test]
    fn a_digest_that_leads_elsewhere_is_not_taken() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let elsewhere = "sha256:../../../../../../../../../../dev/null";
        let layer = digest("");
        for manifest in [manifest((elsewhere, 0), (&layer, 0)), manifest((&layer, 0), (elsewhere, 0))] {
            let answer = say(&receiver, &put("/v2/NAME/b/manifests/t", &manifest));
            assert_eq!(status(&answer), ["400 Bad Request"]);
        }
        let ask = request("HEAD", &format!("/v2/NAME/b/blobs/{elsewhere}"), "");
        let upload = put(&format!("/v2/NAME/b/blobs/uploads/upload?digest={elsewhere}"), "");
        for text in [ask, upload] {
            assert!(!say(&receiver, &text).contains(" 20"), "{text}");
        }
        assert!(layout.histories().is_empty() && layout.blobs().is_empty());
        Ok(())
    }

    #[test]
    fn what_nobody_here_pushes_is_refused() -> Result<()> {
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
            assert_eq!(status(&say(&receiver, &text)), [expected]);
        }
        assert!(layout.blobs().is_empty());
        assert!(receiver.failure().is_none(), "a stranger's request is no failure of the push");
        Ok(())
    }

    #[test]
    fn who_tries_tls_is_answered_in_plain_http() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (_layout, receiver) = receiver(&guard);
        assert!(say(&receiver, "\x16\x03\x01\x02\x00").starts_with("HTTP/1.0 400"));
        assert!(receiver.failure().is_none());
        Ok(())
    }
}
