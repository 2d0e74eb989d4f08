//! What deploys, whatever they deploy, are told about activation.

use crate::release::lock::Patience;

/// Whether and how what was delivered is started.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct Activate {
    /// Deliver only: leave running what runs
    #[arg(long, conflicts_with = "force")]
    pub no_start: bool,

    /// What is done about robots that are another's, or busy.
    #[command(flatten)]
    pub disturb: Disturb,

    /// Leave a release running that is not well, to look at; otherwise the robot goes back to the one before
    #[arg(long, conflicts_with = "no_start")]
    pub no_rollback: bool,
}

/// What is done about robots that are another's, or busy.
#[derive(clap::Args, Debug, Clone, Copy)]
pub struct Disturb {
    /// Wait while somebody else deploys to a robot, and until it may be disturbed
    #[arg(long)]
    wait: bool,

    /// Do it even if a robot says that it is busy
    #[arg(long)]
    pub force: bool,
}

impl From<Disturb> for Activate {
    /// For verbs that always start something.
    fn from(disturb: Disturb) -> Self {
        Self { no_start: false, disturb, no_rollback: false }
    }
}

impl Disturb {
    /// Whether others are waited for.
    pub fn patience(self) -> Patience {
        if self.wait { Patience::Wait } else { Patience::Refuse }
    }
}
