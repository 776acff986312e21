//! The simulated world: virtual time, everything that is on its way, and who is alive.
//!
//! Nothing happens but by [`World::next`]: it takes the event that is due first and says what it is.
//! Latencies come from the seed, so which of two requests arrives first does too. An instance that is
//! paused hears nothing until it goes on; what it had sent goes on by itself. So does what a dead one
//! had sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::bucket::{Answer, Bucket, Request};
use super::instance::End;
use super::invariants::Observer;
use super::kafka::Kafka;

/// An instance of the pipeline, in the order of starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct InstanceId(pub(super) usize);

/// Ticks of virtual time.
pub(super) type Ticks = u64;

/// What is on its way.
pub(super) enum Event {
    /// A request to the object store.
    Request {
        from: InstanceId,
        request: Request,
        /// Nobody waits for a request that was given up.
        reply: Option<oneshot::Sender<Answer>>,
    },
    /// Its answer.
    Answer {
        to: InstanceId,
        answer: Answer,
        reply: oneshot::Sender<Answer>,
    },
    /// An instance may take its next step.
    Turn {
        of: InstanceId,
        go: oneshot::Sender<()>,
    },
    /// Somebody interferes.
    Chaos,
}

/// How hostile a world is, drawn from the seed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Temper {
    /// Chance that a request or a transaction meets a fault.
    pub(super) fault: f64,
    /// Chance that a message takes long.
    pub(super) slow: f64,
}

/// One instance, as the world sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Life {
    pub(super) dead: bool,
    pub(super) paused_until: Ticks,
}

pub(super) struct World {
    pub(super) now: Ticks,
    pub(super) rng: SmallRng,
    pub(super) temper: Temper,
    pub(super) lives: Vec<Life>,
    pub(super) buckets: HashMap<&'static str, Bucket>,
    pub(super) kafka: Kafka,
    pub(super) observer: Observer,
    /// What each instance runs.
    pub(super) tasks: Vec<Vec<AbortHandle>>,
    /// How instances ended that nobody has asked for yet.
    pub(super) ends: Vec<(InstanceId, End)>,
    heap: BinaryHeap<Reverse<(Ticks, u64)>>,
    events: HashMap<u64, Event>,
    sequence: u64,
    trace: bool,
}

/// The world, shared by everybody in it.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn new(seed: u64, trace: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let temper = Temper {
            fault: [0.0, 0.01, 0.05, 0.2][rng.random_range(0..4)],
            slow: [0.0, 0.02, 0.2][rng.random_range(0..3)],
        };
        Self::with(temper, rng, trace)
    }

    /// A world in which nothing goes wrong by itself.
    pub(super) fn calm() -> Self {
        let temper = Temper {
            fault: 0.0,
            slow: 0.0,
        };
        Self::with(temper, SmallRng::seed_from_u64(0), false)
    }

    fn with(temper: Temper, mut rng: SmallRng, trace: bool) -> Self {
        let world = World {
            now: 0,
            temper,
            lives: Vec::new(),
            buckets: ["checkpoint", "output"]
                .map(|name| (name, Bucket::default()))
                .into(),
            kafka: Kafka::default(),
            observer: Observer::draw(&mut rng),
            rng,
            tasks: Vec::new(),
            ends: Vec::new(),
            heap: BinaryHeap::new(),
            events: HashMap::new(),
            sequence: 0,
            trace,
        };
        Self(Arc::new(Mutex::new(world)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        self.0
            .lock()
            .expect("nobody panics while holding the world")
    }

    /// Waits until it is this instance's turn.
    pub(super) async fn turn(&self, of: InstanceId) {
        let (go, gone) = oneshot::channel();
        self.lock().schedule_soon(Event::Turn { of, go });
        gone.await.expect("the world outlives everybody in it");
    }

    /// The same, after a while.
    pub(super) async fn wait(&self, of: InstanceId, ticks: Ticks) {
        let (go, gone) = oneshot::channel();
        self.lock().schedule(ticks, Event::Turn { of, go });
        gone.await.expect("the world outlives everybody in it");
    }

    /// The same; now and then it is long until then.
    pub(super) async fn doze(&self, of: InstanceId) {
        let ticks = {
            let mut world = self.lock();
            let long = world.rng.random_range(0..8) == 0;
            long.then(|| world.rng.random_range(20..1_000))
        };
        match ticks {
            Some(ticks) => self.wait(of, ticks).await,
            None => self.turn(of).await,
        }
    }

    /// Asks the object store.
    pub(super) async fn ask(&self, from: InstanceId, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        {
            let mut world = self.lock();
            if world.lives[from.0].dead {
                return Answer::Unavailable;
            }
            let reply = Some(reply);
            world.schedule_soon(Event::Request {
                from,
                request,
                reply,
            });
        }
        answer.await.unwrap_or(Answer::Unavailable)
    }
}

impl World {
    /// Whether something goes wrong now.
    pub(super) fn is_fault(&mut self) -> bool {
        let chance = self.temper.fault;
        chance > 0.0 && self.rng.random_bool(chance)
    }

    /// Ends an instance: it hears and does nothing more, what it has sent goes on.
    pub(super) fn kill(&mut self, id: InstanceId) {
        self.lives[id.0].dead = true;
        for task in self.tasks[id.0].drain(..) {
            task.abort();
        }
    }

    pub(super) fn schedule(&mut self, after: Ticks, event: Event) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.heap.push(Reverse((self.now + after, sequence)));
        self.events.insert(sequence, event);
    }

    /// Schedules with the latency that the seed has for it.
    pub(super) fn schedule_soon(&mut self, event: Event) {
        let slow = self.temper.slow;
        let after = if slow > 0.0 && self.rng.random_bool(slow) {
            self.rng.random_range(20..400)
        } else {
            self.rng.random_range(1..20)
        };
        self.schedule(after, event);
    }

    /// The next thing that happens; `None` when nothing is on its way any more.
    pub(super) fn next(&mut self) -> Option<Event> {
        while let Some(Reverse((due, sequence))) = self.heap.pop() {
            let event = self.events.remove(&sequence)?;
            let heard_by = match &event {
                Event::Answer { to, .. } => Some(*to),
                Event::Turn { of, .. } => Some(*of),
                Event::Request { .. } | Event::Chaos => None,
            };
            if let Some(life) = heard_by.map(|id| self.lives[id.0]) {
                if life.dead {
                    continue;
                }
                if life.paused_until > due {
                    // Everything that waited for it comes at once, in the order in which it was due.
                    self.heap.push(Reverse((life.paused_until, sequence)));
                    self.events.insert(sequence, event);
                    continue;
                }
            }
            self.now = due;
            return Some(event);
        }
        None
    }

    /// Says what happens, when a seed is replayed.
    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>7}  {}", self.now, what());
        }
    }
}
