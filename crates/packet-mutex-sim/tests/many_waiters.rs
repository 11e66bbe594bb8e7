//! 100,000 tasks that wait on one mutex: they are granted in exact order, cancelled without a trace, and take bounded memory.
//! A binary of its own, so that the memory of the process is theirs.

use packet_mutex::{Error, Limits, ManualClock, PacketMutex, Roster, RosterSpec, TaskTurn};
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

const WAITERS: usize = 100_000;
/// What a waiter may take, in bytes; what it does take is printed (`--nocapture`).
const BYTES_MAX: usize = 2048;

type Ask<'m> = Pin<Box<dyn Future<Output = Result<TaskTurn, Error>> + 'm>>;

/// A task's waker: it tells whose turn it is to be polled.
struct Woken {
    task: usize,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.woken.lock().unwrap().push_back(self.task);
    }
}

/// Tasks that wait, and those that were woken.
struct Crowd<'m> {
    asks: Vec<Option<Ask<'m>>>,
    wakers: Vec<Waker>,
    woken: Arc<Mutex<VecDeque<usize>>>,
}

impl<'m> Crowd<'m> {
    /// All ask, one after another; none is answered.
    fn gather(mutex: &'m PacketMutex, modules: &[&'static str]) -> Self {
        let mut crowd = Crowd {
            asks: Vec::with_capacity(WAITERS),
            wakers: Vec::with_capacity(WAITERS),
            woken: Arc::default(),
        };
        for task in 0..WAITERS {
            let module = modules[scattered(task) % modules.len()];
            crowd.asks.push(Some(Box::pin(mutex.acquire_async(module))));
            let woken = Woken { task, woken: crowd.woken.clone() };
            crowd.wakers.push(Waker::from(Arc::new(woken)));
            assert!(crowd.poll(task).is_none(), "task {task} waits");
        }
        crowd
    }

    fn poll(&mut self, task: usize) -> Option<Result<TaskTurn, Error>> {
        let ask = self.asks[task].as_mut()?;
        match ask.as_mut().poll(&mut Context::from_waker(&self.wakers[task])) {
            Poll::Pending => None,
            Poll::Ready(answer) => {
                self.asks[task] = None;
                Some(answer)
            }
        }
    }

    fn next_woken(&self) -> Option<usize> {
        self.woken.lock().unwrap().pop_front()
    }
}

/// Numbers that jump about, so that modules come in no order.
fn scattered(task: usize) -> usize {
    task.wrapping_mul(2_654_435_761) >> 7
}

fn mutex(clock: &ManualClock) -> PacketMutex {
    let roster = Roster::new(RosterSpec {
        limits: Limits { waiters: WAITERS, ..Limits::default() },
        timeout: Duration::from_secs(24 * 3600),
        starving_after: None,
        ..Roster::default().into_spec()
    });
    PacketMutex::builder(roster.unwrap()).clock(clock.clone()).build()
}

/// The memory of this process, in bytes; `None` where the system does not tell.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}

/// One test, since two at a time would share the process's memory.
#[test]
fn a_hundred_thousand_wait() {
    memory_is_bounded_and_nothing_is_left_behind();
    grants_come_in_exact_order();
}

fn memory_is_bounded_and_nothing_is_left_behind() {
    let clock = ManualClock::new();
    let mutex = mutex(&clock);
    let names: Vec<String> = mutex.roster().spec().modules.iter().map(|m| m.name.clone()).collect();
    let modules = ["runemaker", "trainer", "fisher", "auto_loot", "stacker", "eater"];
    assert_eq!(names, modules);
    let before = resident();
    let mut peaks = Vec::new();
    for round in 0..3 {
        let holder = mutex.acquire("trainer").unwrap();
        let mut crowd = Crowd::gather(&mutex, &modules);
        peaks.extend(resident());
        assert_eq!(mutex.status().waiters.len(), WAITERS);
        // One more is too many (S14).
        assert!(matches!(mutex.try_acquire("fisher"), Err(Error::WouldDeadlock { .. })));
        let full = std::thread::scope(|scope| {
            scope.spawn(|| mutex.try_acquire("fisher").unwrap_err().to_string()).join().unwrap()
        });
        assert!(full.starts_with("queue full: 100000"), "{full}");
        if round == 1 {
            // All go away by themselves.
            drop(crowd);
        } else {
            for module in modules {
                mutex.cancel(module).unwrap();
            }
            for _ in 0..WAITERS {
                let task = crowd.next_woken().expect("each is woken");
                let answer = crowd.poll(task).expect("each has its answer");
                assert!(matches!(answer, Err(Error::Cancelled)));
            }
            assert_eq!(crowd.next_woken(), None, "nobody is woken twice");
        }
        let status = mutex.status();
        assert_eq!((status.waiters.len(), status.holder.is_some()), (0, true));
        drop(holder);
        // The next is served as if nobody had ever waited.
        clock.advance(Duration::from_secs(1));
        drop(mutex.try_acquire("eater").unwrap());
        clock.advance(Duration::from_secs(1));
    }
    let (Some(before), [first, second, last]) = (before, peaks.as_slice()) else { return };
    let each = (first - before) / WAITERS;
    // Seen with `--nocapture`.
    #[expect(clippy::print_stdout, reason = "a test's own report")]
    {
        let future = std::mem::size_of_val(&mutex.acquire_async("fisher"));
        println!("a waiter takes {each} bytes, {future} of them its future");
    }
    assert!(each <= BYTES_MAX, "a waiter takes {each} bytes");
    // What was left behind would pile up. The first round is left out: queues keep the room that they once had.
    let grown = last.saturating_sub(*second) / WAITERS;
    assert!(grown < 50, "a waiter that is gone leaves {grown} bytes");
}

fn grants_come_in_exact_order() {
    let clock = ManualClock::new();
    let mutex = mutex(&clock);
    let modules = ["eater", "stacker", "auto_loot", "fisher", "trainer", "runemaker"];
    let holder = mutex.acquire("eater").unwrap();
    let mut crowd = Crowd::gather(&mutex, &modules);
    drop(holder);
    let mut order = Vec::new();
    while order.len() < WAITERS {
        let Some(task) = crowd.next_woken() else {
            // A handover: another group is next.
            clock.advance(Duration::from_secs(1));
            assert!(!crowd.woken.lock().unwrap().is_empty(), "nobody is next");
            continue;
        };
        let turn = crowd.poll(task).expect("woken with an answer").expect("granted");
        order.push(task);
        drop(turn);
    }
    // By priority, and in order of arrival among equals.
    let mut expected: Vec<usize> = (0..WAITERS).collect();
    expected.sort_by_key(|task| std::cmp::Reverse(scattered(*task) % modules.len()));
    assert!(order == expected);
    assert_eq!(mutex.status().waiters.len(), 0);
}
