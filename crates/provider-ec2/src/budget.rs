//! The account's API buckets, modelled here so that EC2 never has to refuse a call of ours.
//!
//! The numbers are those of "Request throttling for the Amazon EC2 API" (EC2 developer guide, read 2026): per account,
//! region and action. RunInstances and TerminateInstances pay twice, for the call and for each machine. Other tools draw
//! on the same buckets; when EC2 refuses all the same, the pace is halved for a while.

use std::sync::Arc;
use std::time::Duration;

use pacer::{Bucket, Busy, Pacer, Turn};
use ports::Clock;

/// Longest wait for a turn. With the request itself it stays within the minute that the scaler gives to a creation, well
/// below the time after which one that no listing shows counts as never made: what waited longer could be made twice.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// One bucket for each kind of call.
pub(crate) struct Budget {
    clock: Arc<dyn Clock>,
    launches: Pacer,
    launched: Pacer,
    ends: Pacer,
    ended: Pacer,
    tags: Pacer,
    listings: Pacer,
    images: Pacer,
    spot: Pacer,
    disks: Pacer,
    consoles: Pacer,
}

/// What a call costs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cost {
    /// RunInstances, of so many machines.
    Launch(u32),
    /// TerminateInstances, of so many machines.
    End(u32),
    /// CreateTags.
    Tag,
    /// DescribeInstances, filtered and paged, for whom.
    List(Turn),
    /// DescribeImages.
    Images,
    /// DescribeSpotInstanceRequests.
    Spot,
    /// DescribeVolumes.
    Disks,
    /// GetConsoleOutput.
    Console,
}

impl Budget {
    pub(crate) fn new(clock: &Arc<dyn Clock>) -> Self {
        let pacer = |burst, per_second| Pacer::new(clock.clone(), Bucket { burst, per_second });
        Self {
            clock: clock.clone(),
            launches: pacer(5, 2.0),
            launched: pacer(1000, 2.0),
            ends: pacer(100, 5.0),
            ended: pacer(1000, 20.0),
            tags: pacer(100, 10.0),
            listings: pacer(100, 20.0),
            images: pacer(100, 20.0),
            spot: pacer(100, 20.0),
            disks: pacer(100, 20.0),
            consoles: pacer(100, 20.0),
        }
    }

    /// The buckets of a call with what it takes of each, the call's own first; and who it is for.
    fn of(&self, cost: Cost) -> ([Option<(&Pacer, u32)>; 2], Turn) {
        let (call, machines, turn) = match cost {
            Cost::Launch(count) => (&self.launches, Some((&self.launched, count)), Turn::Create),
            Cost::End(count) => (&self.ends, Some((&self.ended, count)), Turn::Delete),
            Cost::Tag => (&self.tags, None, Turn::Look),
            Cost::List(turn) => (&self.listings, None, turn),
            Cost::Images => (&self.images, None, Turn::Create),
            Cost::Spot => (&self.spot, None, Turn::Look),
            Cost::Disks => (&self.disks, None, Turn::Look),
            Cost::Console => (&self.consoles, None, Turn::Look),
        };
        ([machines, Some((call, 1))], turn)
    }

    /// Waits until the call may go out.
    pub(crate) async fn take(&self, cost: Cost, patience: Duration) -> Result<(), Busy> {
        // asked first, or one bucket is paid in vain because the other is empty
        let wait = self.wait(cost);
        if wait > patience {
            return Err(Busy { retry_after: wait });
        }
        let until = self.clock.boottime().saturating_add(patience);
        let (buckets, turn) = self.of(cost);
        for (pacer, amount) in buckets.into_iter().flatten() {
            let left = until.saturating_sub(self.clock.boottime());
            pacer.take(amount, turn, left).await?;
        }
        Ok(())
    }

    /// How long such a call would wait now.
    pub(crate) fn wait(&self, cost: Cost) -> Duration {
        let (buckets, turn) = self.of(cost);
        let waits = buckets.into_iter().flatten();
        let waits = waits.map(|(pacer, amount)| pacer.expected_wait(amount, turn));
        waits.max().unwrap_or_default()
    }

    /// EC2 refused such a call for coming too soon. It does not say which of two buckets was empty; the one that counts
    /// calls is the smaller.
    pub(crate) fn refused(&self, cost: Cost) {
        if let [_, Some((call, _))] = self.of(cost).0 {
            call.refused();
        }
    }
}
