//! The SDK's sleep, taken from the program's clock, so that a simulation's speed divides the SDK's back-off too.

use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};

use clock::Clock;

#[derive(Debug, Clone)]
pub(super) struct ScaledSleep {
    clock: Clock,
}

impl ScaledSleep {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

impl AsyncSleep for ScaledSleep {
    fn sleep(&self, duration: std::time::Duration) -> Sleep {
        let clock = self.clock;
        Sleep::new(async move { clock.sleep(duration).await })
    }
}
