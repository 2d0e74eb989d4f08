//! Checks the names in `robots.toml` by the rules of [`names`](super::names).

use super::keys::Reader;
use super::names::Refusal;
use super::raw::Text;

/// Refuses a name that breaks `rule`.
pub(super) fn check_name(name: &Text<'_>, rule: fn(&str) -> Result<(), Refusal>, reader: &mut Reader<'_>) {
    if let Err((problem, help)) = rule(name.get_ref()) {
        reader.refuse(name.span(), problem, help);
    }
}
