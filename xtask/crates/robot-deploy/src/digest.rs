//! Digest of a blob. Paths and names of blobs are built from digests only.
//!
//! OCI image specification, descriptor, "Digests": only sha256, which every registry must support.

use std::borrow::Borrow;
use std::fmt::{Display, Formatter};
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// `sha256:` and 64 lowercase hexadecimal digits: text from robots, registries and files is validated when it
/// becomes a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// Returns whether `text` consists of exactly this many lowercase hexadecimal digits.
pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Error for a text that is not a digest.
#[derive(Debug)]
pub struct NotADigest(String);

impl Digest {
    /// Computes the digest of these bytes.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self(format!("sha256:{:x}", Sha256::digest(bytes)))
    }

    pub fn from_hash(hash: Sha256) -> Self {
        Self(format!("sha256:{:x}", hash.finalize()))
    }

    /// Digest with the hexadecimal digits `hex`, if they are valid.
    pub fn from_hex(hex: &str) -> Option<Self> {
        format!("sha256:{hex}").parse().ok()
    }

    /// Digest with its prefix `sha256:`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Hexadecimal digits without the prefix.
    pub fn hex(&self) -> &str {
        &self.0["sha256:".len()..]
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;

    fn try_from(text: String) -> Result<Self, NotADigest> {
        match text.strip_prefix("sha256:") {
            Some(hex) if is_hex(hex, 64) => Ok(Self(text)),
            _ => Err(NotADigest(text)),
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl Deref for Digest {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Digest {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Display for NotADigest {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let start: String = self.0.chars().take(100).collect();
        write!(f, "`{}` is not a digest: `sha256:` and 64 hexadecimal digits", start.escape_debug())
    }
}

impl std::error::Error for NotADigest {}

/// Arbitrary digests for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::Digest;

    pub(crate) fn digest(name: &str) -> Digest {
        Digest::of(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_valid_digests_are_accepted() {
        let hex = "0123456789abcdef".repeat(4);
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        assert_eq!((digest.hex(), &*digest), (hex.as_str(), format!("sha256:{hex}").as_str()));
        assert_eq!(Digest::from_hex(&hex), Some(digest));
        for text in [
            "",
            "sha256:",
            "sha256:../../../../etc/passwd",
            &hex,
            &format!("sha512:{hex}"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{hex}0"),
            &format!("sha256:{hex}\n"),
            &format!("sha256:{}/", &hex[1..]),
        ] {
            text.parse::<Digest>().unwrap_err();
            serde_json::from_value::<Digest>(serde_json::json!(text)).unwrap_err();
        }
    }

    #[test]
    fn the_error_has_no_control_characters() {
        let error = "\x1b[2J".repeat(1000).parse::<Digest>().unwrap_err().to_string();
        assert!(!error.contains('\x1b') && error.len() < 900, "{error}");
    }
}
