//! A registry on this machine's loopback interface, for as long as an export takes: what `docker push` brings
//! becomes files of an image layout.
//!
//! A push brings exactly the image that was built, asks first what is there, and hands the rest over as it is.
//! BuildKit's own export of a layout builds once more, and takes three times as long for a large layer (13 s
//! instead of 4 s for 740 MB): it waits for an answer to each piece of it.
//!
//! OCI distribution specification, "Pushing blobs" and "Pushing manifests": of what it allows, the part that
//! Docker's push of an image uses whose store has it as it is pushed.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

use super::layout::Layout;
use super::oci::MANIFEST_LIMIT;
use crate::error::Result;
use crate::loopback::Listener;

/// The port that it listens on where that is free: one that no tunnel has.
const PORT: u16 = 5101;

/// The longest head of a request, and its most headers.
const HEAD: (usize, usize) = (64 << 10, 64);

/// The first byte of a TLS connection (RFC 8446, section 5.1: a record with a handshake).
const TLS: u8 = 22;

/// See the module. It stops with this guard.
#[derive(Debug)]
pub struct Receiver {
    listener: Listener,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    layout: Layout,
    /// Why something could not be taken.
    failure: Mutex<Option<anyhow::Error>>,
}

impl Receiver {
    /// Starts to listen.
    ///
    /// # Errors
    /// Fails when no port is free.
    pub fn start(layout: &Layout) -> Result<Self> {
        let shared = Arc::new(Shared { layout: layout.clone(), failure: Mutex::new(None) });
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

    /// Why something could not be taken, if that happened; told once.
    pub fn failure(&self) -> Option<anyhow::Error> {
        self.shared.failure().take()
    }
}

/// A request, as far as it matters here; its body has not been read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Request {
    method: String,
    path: String,
    /// What the query says the digest is.
    digest: Option<String>,
    length: u64,
    /// Whether the body is sent only once it has been asked for.
    waits: bool,
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

    /// A blob that is here.
    fn blob(&self, digest: &str) -> Option<std::fs::Metadata> {
        self.layout.blob(&digest.parse().ok()?).metadata().ok()
    }

    /// Answers all requests of a connection.
    fn serve(&self, client: &TcpStream) {
        if let Err(error) = self.converse(client) {
            // The first one explains the others.
            let _first = self.failure().get_or_insert(error);
        }
    }

    fn converse(&self, mut client: &TcpStream) -> Result<()> {
        let mut first = [0];
        if client.peek(&mut first).context("hear a push")? == 1 && first[0] == TLS {
            // An answer in plain HTTP is what tells Docker that it is spoken here. Who closes a connection without
            // having heard all that was said on it takes back the answer.
            client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").context("answer a push")?;
            client.shutdown(Shutdown::Write).context("answer a push")?;
            drop(io::copy(&mut client, &mut io::sink()));
            return Ok(());
        }
        let mut requests = BufReader::with_capacity(256 << 10, client);
        while let Some(request) = Request::read(&mut requests)? {
            if request.waits {
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").context("answer a push")?;
            }
            let mut body = (&mut requests).take(request.length);
            let answer = self.answer(&request, &mut body)?;
            let _unread = io::copy(&mut body, &mut io::sink()).context("hear a push")?;
            client.write_all(answer.to_text().as_bytes()).context("answer a push")?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request, body: &mut impl Read) -> Result<Answer> {
        let words: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        Ok(match (request.method.as_str(), &words[..]) {
            ("GET", ["v2"]) => Answer::new("200 OK"),
            ("HEAD", ["v2", .., "blobs", digest]) => match self.blob(digest) {
                Some(blob) => Answer::new("200 OK")
                    .with("Content-Length", blob.len().to_string())
                    .with("Docker-Content-Digest", *digest),
                None => Answer::new("404 Not Found"),
            },
            ("POST", ["v2", .., "blobs", "uploads"]) => {
                let path = format!("/{}/upload", words.join("/"));
                Answer::new("202 Accepted").with("Location", path)
            }
            ("PUT", ["v2", .., "blobs", "uploads", "upload"]) => match &request.digest {
                Some(digest) => {
                    self.layout.receive(body, &digest.parse()?)?;
                    Answer::new("201 Created").with("Docker-Content-Digest", digest)
                }
                None => Answer::new("400 Bad Request"),
            },
            ("PUT", ["v2", .., "manifests", _]) => {
                let mut manifest = Vec::new();
                let _count = body.take(MANIFEST_LIMIT).read_to_end(&mut manifest).context("hear a push")?;
                let digest = self.layout.receive_manifest(&manifest)?;
                Answer::new("201 Created").with("Docker-Content-Digest", digest)
            }
            // A tag has no manifest before it is pushed.
            _ => Answer::new("404 Not Found"),
        })
    }
}

impl Request {
    /// The next one; none where the connection ends.
    fn read(requests: &mut impl io::BufRead) -> Result<Option<Self>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            anyhow::ensure!(head.len() < HEAD.0, "a push says too much");
            let line = requests.take(HEAD.0 as u64).read_until(b'\n', &mut head).context("hear a push")?;
            if line == 0 {
                anyhow::ensure!(head.is_empty(), "a push broke off");
                return Ok(None);
            }
        }
        Self::parse(&head).map(Some)
    }

    fn parse(head: &[u8]) -> Result<Self> {
        let mut headers = [httparse::EMPTY_HEADER; HEAD.1];
        let mut parsed = httparse::Request::new(&mut headers);
        let _end = parsed.parse(head).context("understand a push")?;
        let (path, query) = parsed
            .path
            .unwrap_or_default()
            .split_once('?')
            .unwrap_or_else(|| (parsed.path.unwrap_or_default(), ""));
        let mut request = Self {
            method: parsed.method.unwrap_or_default().to_owned(),
            path: path.to_owned(),
            // Of a digest nothing but the colon may be written in another way (RFC 3986, section 2.1).
            digest: query
                .split('&')
                .find_map(|pair| pair.strip_prefix("digest="))
                .map(|text| text.replace("%3A", ":")),
            ..Self::default()
        };
        for header in parsed.headers {
            let value = String::from_utf8_lossy(header.value);
            match header.name.to_ascii_lowercase().as_str() {
                "content-length" => request.length = value.trim().parse().context("understand a push")?,
                "expect" => request.waits = true,
                "transfer-encoding" => anyhow::bail!("a push does not say how much it brings"),
                _ => {}
            }
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use camino::Utf8PathBuf;

    use super::*;
    use crate::digest::Digest;

    fn receiver(guard: &tempfile::TempDir) -> (Layout, Receiver) {
        let layout = Layout::at(Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap());
        let receiver = Receiver::start(&layout).unwrap();
        (layout, receiver)
    }

    /// What a registry answers to what is said on one connection.
    fn say(receiver: &Receiver, words: &[u8]) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, receiver.port())).unwrap();
        stream.write_all(words).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn put(path: &str, body: &str) -> String {
        format!("PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn what_is_pushed_becomes_an_image_of_the_layout() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let (config, layer) = (r#"{"history":[{"created_by":"RUN x"}]}"#, "a layer");
        let manifest = format!(
            r#"{{"config":{{"digest":"{}","size":{}}},"layers":[{{"digest":"{}","size":{}}}]}}"#,
            Digest::of(config),
            config.len(),
            Digest::of(layer),
            layer.len()
        );
        // One connection for all, as Docker has it.
        let ask = format!("HEAD /v2/a/b/blobs/{} HTTP/1.1\r\nHost: x\r\n\r\n", Digest::of(layer));
        let upload = |text: &str| {
            let query = Digest::of(text).replace(':', "%3A");
            put(&format!("/v2/a/b/blobs/uploads/upload?digest={query}"), text)
        };
        let begin = "POST /v2/a/b/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
        let words =
            [&ask, begin, &upload(layer), &upload(config), &ask, &put("/v2/a/b/manifests/t", &manifest)];
        let answer = say(&receiver, words.map(str::to_owned).concat().as_bytes());
        let status: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).collect();
        assert_eq!(
            status,
            ["404 Not Found", "202 Accepted", "201 Created", "201 Created", "200 OK", "201 Created"]
        );
        assert!(answer.contains("Location: /v2/a/b/blobs/uploads/upload\r\n"), "{answer}");
        let image = layout.image(&Digest::of(&manifest)).unwrap();
        assert_eq!((image.layers[0].size, image.layers[0].created_by.as_str()), (7, "RUN x"));
        assert_eq!(layout.histories()[&Digest::of(layer)], "RUN x");
        assert!(receiver.failure().is_none());
        Ok(())
    }

    #[test]
    fn what_is_not_what_it_is_called_is_not_taken() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (layout, receiver) = receiver(&guard);
        let other = Digest::of("other");
        let upload = put(&format!("/v2/a/blobs/uploads/upload?digest={other}"), "text");
        assert_eq!(say(&receiver, upload.as_bytes()), "", "the connection is closed");
        assert!(!layout.blob(&other).exists());
        let error = receiver.failure().unwrap();
        assert!(format!("{error:#}").contains("is not what it is called"), "{error:#}");

        // One that breaks off leaves nothing either.
        let cut = upload.replace("Content-Length: 4", "Content-Length: 40");
        assert_eq!(say(&receiver, cut.as_bytes()), "");
        assert!(receiver.failure().is_some());
        assert_eq!(layout.blobs(), [].into());
        Ok(())
    }

    #[test]
    fn who_tries_tls_is_answered_in_plain_http() -> Result<()> {
        let guard = tempfile::tempdir()?;
        let (_layout, receiver) = receiver(&guard);
        assert!(say(&receiver, b"\x16\x03\x01\x02\x00").starts_with("HTTP/1.0 400"));
        assert!(receiver.failure().is_none());
        Ok(())
    }
}
