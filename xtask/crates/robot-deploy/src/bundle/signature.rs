//! Signatures of bundles by SSH keys, made and verified by ssh-keygen(1).
//!
//! The committed file [`FILE`] lists the people who may decide what robots run, in the "allowed signers"
//! format of ssh-keygen(1): a line `NAME KEY` for each person. If the file exists, every bundle must be
//! signed.

use std::collections::BTreeSet;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use crate::config::Workspace;
use crate::error::{Failure, Result};
use crate::process::Cmd;
use crate::{files, ui};

/// Name of the file beside `robots.toml`.
const FILE: &str = "robots.signers";

/// Namespace that prevents the use of other signatures, such as those of commits, for bundles.
const NAMESPACE: &str = "xtask-bundle";

/// Keys that may sign bundles of a workspace.
#[derive(Debug)]
pub(crate) struct Signers {
    file: Utf8PathBuf,
}

/// Key of this user that signs bundles.
#[derive(Debug)]
pub(crate) struct Signer<'a> {
    signers: &'a Signers,
    /// File with the public key; the private key is beside it or in the agent.
    key: Utf8PathBuf,
    /// Temporary directory of that file, if only the agent has the key.
    _of_agent: Option<TempDir>,
}

impl Signers {
    /// Signers of a workspace; `None` if bundles need no signature.
    pub(crate) fn of(workspace: &Workspace) -> Option<Self> {
        let file = workspace.root.join(FILE);
        // An unreadable file or a dangling link must not turn the check off.
        file.symlink_metadata().is_ok().then_some(Self { file })
    }

    /// First key of this user, in `~/.ssh` or in the agent, that may sign.
    pub(crate) fn signer(&self) -> Result<Signer<'_>> {
        let text = fs_err::read_to_string(&self.file)?;
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let allowed: BTreeSet<&str> = lines.flat_map(str::split_whitespace).collect();
        let is_allowed = |key: &str| key.split_whitespace().nth(1).is_some_and(|key| allowed.contains(key));
        let dir = files::home().context("find your SSH keys")?.join(".ssh");
        let files = dir.read_dir_utf8().into_iter().flatten().flatten().map(|entry| entry.into_path());
        let mut files: Vec<Utf8PathBuf> = files.filter(|path| path.extension() == Some("pub")).collect();
        files.sort();
        let is_key = |path: &Utf8PathBuf| fs_err::read_to_string(path).is_ok_and(|key| is_allowed(&key));
        if let Some(key) = files.into_iter().find(is_key) {
            return Ok(Signer { signers: self, key, _of_agent: None });
        }
        // `ssh-add` fails without an agent.
        let agent = Cmd::new("ssh-add").arg("-L").read().unwrap_or_default();
        let Some(key) = agent.lines().find(|key| is_allowed(key)) else {
            return Err(Failure::failed(format!(
                "none of your SSH keys may sign bundles: see `{}`",
                self.file
            ))
            .hint(format!(
                "`echo \"$USER $(cat ~/.ssh/id_ed25519.pub)\" >>{FILE}` adds yours: commit the file"
            ))
            .hint("a key that is not in `~/.ssh` must be in the agent: `ssh-add`")
            .into());
        };
        let (dir, key) = temporary("key.pub", key)?;
        Ok(Signer { signers: self, key, _of_agent: Some(dir) })
    }

    /// Verifies the signature of the bundle at `bundle`, whose checksums are `sums`; returns the signer's
    /// name.
    pub(crate) fn verify(&self, bundle: &Utf8Path, sums: &str, signature: &str) -> Result<String> {
        let (_dir, signature) = temporary("signature", signature)?;
        let ssh_keygen = |verb: &str| {
            let args = ["-Y", verb, "-f", self.file.as_str(), "-s", signature.as_str()];
            Cmd::new("ssh-keygen").args(args)
        };
        let found = ssh_keygen("find-principals").read().map_err(|error| {
            Failure::failed(format!("`{bundle}` is not signed by a key in `{}`", self.file))
                .hint("ask a person in that file to write and sign it: `cargo xtask deploy --via archive --to FILE`")
                .hint(format!("if its signer may decide what robots run: add their key to `{FILE}`"))
                .because(error)
        })?;
        let name = found.lines().next().unwrap_or_default().to_owned();
        let verified = ssh_keygen("verify").args(["-n", NAMESPACE, "-I", &name]).stdin(sums).read();
        verified.map(|_| name).map_err(|error| {
            Failure::failed(format!("the signature of `{bundle}` does not match its content"))
                .hint("copy it again from where it was written; if that does not help, the bundle was changed: do not load it")
                .because(error)
                .into()
        })
    }
}

impl Signer<'_> {
    /// Signs the checksums of a bundle that is written to `bundle`, and verifies the signature: the key may
    /// have expired.
    pub(crate) fn sign(&self, bundle: &Utf8Path, sums: &str) -> Result<String> {
        let (_dir, file) = temporary("sums", sums)?;
        let args = ["-q", "-Y", "sign", "-n", NAMESPACE, "-f", self.key.as_str(), file.as_str()];
        // ssh-keygen may ask for a passphrase.
        Cmd::new("ssh-keygen").args(args).interactive().with_context(|| format!("sign by {}", self.key))?;
        let signature = fs_err::read_to_string(file.with_extension("sig"))?;
        let name = self.signers.verify(bundle, sums, &signature)?;
        ui::step("bundle", &format!("signed by {name}"));
        Ok(signature)
    }
}

/// Creates a temporary file with this text that other users cannot write to.
fn temporary(name: &str, text: &str) -> Result<(TempDir, Utf8PathBuf)> {
    let (dir, file) = files::apart(name)?;
    fs_err::write(&file, text)?;
    Ok((dir, file))
}
