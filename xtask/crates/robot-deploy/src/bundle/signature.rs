//! Signatures of bundles by the SSH keys of people who may decide what robots run, as ssh-keygen(1) makes and checks them.
//!
//! They are named in a committed file, [`FILE`], in the format that ssh-keygen(1) calls allowed signers: a line
//! `NAME KEY` for each person. Where it exists, every bundle has to be signed.

use std::collections::BTreeSet;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};
use tempfile::TempDir;

use crate::config::Workspace;
use crate::error::{Failure, Result};
use crate::process::Cmd;
use crate::{files, ui};

/// The file beside `robots.toml`.
const FILE: &str = "robots.signers";

/// Keeps signatures of other things, say of commits, from being taken for those of bundles.
const NAMESPACE: &str = "xtask-bundle";

/// The people whose bundles are loaded.
#[derive(Debug)]
pub struct Signers {
    file: Utf8PathBuf,
}

/// A key that signs.
#[derive(Debug)]
pub struct Signer<'a> {
    signers: &'a Signers,
    /// The file with the public key, beside which the private one is, unless the agent has it.
    key: Utf8PathBuf,
    /// Directory of that file, if only the agent has the key.
    _of_agent: Option<TempDir>,
}

impl Signers {
    /// Those of a workspace; none if it has no such file.
    pub fn of(workspace: &Workspace) -> Option<Self> {
        let file = workspace.root.join(FILE);
        // One that cannot be read, or leads nowhere, is no permission for everybody.
        file.symlink_metadata().is_ok().then_some(Self { file })
    }

    /// The first of the caller's keys, in `~/.ssh` or in the agent, that is one of these.
    ///
    /// # Errors
    /// Fails when none is.
    pub fn signer(&self) -> Result<Signer<'_>> {
        let text = fs_err::read_to_string(&self.file)?;
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        let allowed: BTreeSet<&str> = lines.flat_map(str::split_whitespace).collect();
        let is_allowed = |key: &str| key.split_whitespace().nth(1).is_some_and(|key| allowed.contains(key));
        let home = std::env::var("HOME").context("find your SSH keys")?;
        let dir = Utf8Path::new(&home).join(".ssh");
        let files = dir.read_dir_utf8().into_iter().flatten().flatten().map(|entry| entry.into_path());
        let mut files: Vec<Utf8PathBuf> = files.filter(|path| path.extension() == Some("pub")).collect();
        files.sort();
        let is_key = |path: &Utf8PathBuf| fs_err::read_to_string(path).is_ok_and(|key| is_allowed(&key));
        if let Some(key) = files.into_iter().find(is_key) {
            return Ok(Signer { signers: self, key, _of_agent: None });
        }
        // Without an agent, it has no keys.
        let agent = Cmd::new("ssh-add").arg("-L").read().unwrap_or_default();
        let Some(key) = agent.lines().find(|key| is_allowed(key)) else {
            return Err(Failure::failed(format!(
                "none of your SSH keys may sign bundles: see `{}`",
                self.file
            ))
            .hint(format!("`echo \"$USER $(cat ~/.ssh/id_ed25519.pub)\" >>{FILE}` adds one: commit it"))
            .hint("a key that is in no file of `~/.ssh` has to be in the agent: `ssh-add`")
            .into());
        };
        let (dir, key) = temporary("key.pub", key)?;
        Ok(Signer { signers: self, key, _of_agent: Some(dir) })
    }

    /// Makes sure that one of these has signed the bundle at `bundle`, whose checksums are `sums`; gives the name.
    ///
    /// # Errors
    /// Says what is wrong with the signature.
    pub fn verify(&self, bundle: &Utf8Path, sums: &str, signature: &str) -> Result<String> {
        let (_dir, signature) = temporary("signature", signature)?;
        let ssh_keygen = |verb: &str| {
            let args = ["-Y", verb, "-f", self.file.as_str(), "-s", signature.as_str()];
            Cmd::new("ssh-keygen").args(args)
        };
        let found = ssh_keygen("find-principals").read().map_err(|error| {
            Failure::failed(format!("`{bundle}` is not signed by anybody in `{}`", self.file))
                .hint("have it written and signed by somebody who is: `cargo xtask deploy --via archive --to FILE`")
                .hint(format!("if whoever signed it may decide what robots run: add their key to `{FILE}`"))
                .because(error)
        })?;
        let name = found.lines().next().unwrap_or_default().to_owned();
        let verified = ssh_keygen("verify").args(["-n", NAMESPACE, "-I", &name]).stdin(sums).read();
        verified.map(|_| name).map_err(|error| {
            Failure::failed(format!("`{bundle}` is not what was signed"))
                .hint("copy it anew from where it was written; if that does not help, somebody has changed it: do not load it")
                .because(error)
                .into()
        })
    }
}

impl Signer<'_> {
    /// Signs the checksums of a bundle that is written to `bundle`.
    ///
    /// # Errors
    /// Fails when the key is locked, or the signature is none that robots are loaded by, say because its time is over.
    pub fn sign(&self, bundle: &Utf8Path, sums: &str) -> Result<String> {
        let (_dir, file) = temporary("sums", sums)?;
        let args = ["-q", "-Y", "sign", "-n", NAMESPACE, "-f", self.key.as_str(), file.as_str()];
        // It may ask for a passphrase.
        Cmd::new("ssh-keygen").args(args).interactive().with_context(|| format!("sign by {}", self.key))?;
        let signature = fs_err::read_to_string(file.with_extension("sig"))?;
        let name = self.signers.verify(bundle, sums, &signature)?;
        ui::step("bundle", &format!("signed by {name}"));
        Ok(signature)
    }
}

/// A file with this text, which nobody else can write to.
fn temporary(name: &str, text: &str) -> Result<(TempDir, Utf8PathBuf)> {
    let (dir, file) = files::apart(name)?;
    fs_err::write(&file, text)?;
    Ok((dir, file))
}
