//! Settings of this machine that builds need and images must not contain: passed as BuildKit secrets, which
//! are not part of any layer or cache key.

use camino::Utf8PathBuf;

use crate::files;

/// Certificate bundles of Linux distributions and macOS.
const CA_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Secrets of this machine as `--secret` values: `ca`, its trusted certificates (networks that intercept TLS
/// are common in universities), and `pip`, its pip configuration (package index, proxy).
pub fn of_this_machine() -> Vec<String> {
    let from_env = |name: &str| std::env::var(name).ok().map(Utf8PathBuf::from);
    let home = files::home().unwrap_or_default();
    let ca = from_env("SSL_CERT_FILE").into_iter().chain(CA_BUNDLES.map(Utf8PathBuf::from));
    let pip = from_env("PIP_CONFIG_FILE").into_iter().chain([
        home.join(".config/pip/pip.conf"),
        home.join(".pip/pip.conf"),
        Utf8PathBuf::from("/etc/pip.conf"),
    ]);
    let first = |id: &str, mut candidates: Box<dyn Iterator<Item = Utf8PathBuf>>| {
        candidates.find(|path| path.is_file()).map(|path| format!("id={id},src={path}"))
    };
    [first("ca", Box::new(ca)), first("pip", Box::new(pip))].into_iter().flatten().collect()
}
