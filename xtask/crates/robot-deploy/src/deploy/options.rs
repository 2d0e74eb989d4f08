//! Command-line options about activation, shared by all verbs that deploy.

use crate::release::lock::OnLocked;

/// Options about activation of the delivered release.
#[derive(clap::Args, Debug, Clone, Copy)]
pub(crate) struct Activate {
    /// Deliver only, without starting the new release
    #[arg(long, conflicts_with = "force")]
    pub no_start: bool,

    #[command(flatten)]
    pub on_busy: OnBusy,

    /// Leave an unhealthy release running, for debugging, instead of rolling back to the release before
    #[arg(long, conflicts_with = "no_start")]
    pub no_rollback: bool,
}

/// Options about robots that are locked by another deploy, or busy.
#[derive(clap::Args, Debug, Clone, Copy)]
pub(crate) struct OnBusy {
    /// Wait until other deploys to the robot have ended and the robot is not busy
    #[arg(long)]
    pub wait: bool,

    /// Start the release even if the robot is busy
    #[arg(long)]
    pub force: bool,
}

impl From<OnBusy> for Activate {
    /// The options of verbs that always start a release.
    fn from(on_busy: OnBusy) -> Self {
        Self { no_start: false, on_busy, no_rollback: false }
    }
}

impl OnBusy {
    pub(crate) fn on_locked(self) -> OnLocked {
        if self.wait { OnLocked::Wait } else { OnLocked::Refuse }
    }
}
