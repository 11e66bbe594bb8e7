//! The metrics for Prometheus, in the OpenMetrics text format.

use crate::limits::STREAMS_MAX;
use crate::state::AppState;
use packet_mutex::{Mode, ModuleStatus, Percentiles, Status};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text::encode};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::Arc;

pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the metrics of all mutexes.
pub(crate) fn text(state: &AppState) -> Result<String, fmt::Error> {
    let status_of = |mutex: &packet_mutex::PacketMutex| (mutex.name().clone(), mutex.status());
    let mutexes = state.mutexes.iter().map(|shown| status_of(&shown.mutex)).collect();
    let streams = STREAMS_MAX - state.streams.available_permits();
    let mut registry = Registry::with_prefix("packet_mutex");
    registry.register_collector(Box::new(Metrics { mutexes, streams }));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// The status of each mutex at this moment.
#[derive(Debug)]
struct Metrics {
    mutexes: Vec<(Arc<str>, Status)>,
    streams: usize,
}

/// A label's name and its value.
type Label<'a> = (&'static str, &'a str);

impl Collector for Metrics {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        self.counts(&mut out, "turns", "Turns, nested ones not counted", |module| module.turns)?;
        self.counts(&mut out, "passes", "Passes of observed modules", |module| module.passes)?;
        self.counts(&mut out, "timeouts", "Requests that timed out", |module| module.timeouts)?;
        let wait =
            "How long granted requests waited, since the start; the quantile 1 is the longest";
        self.quantiles(&mut out, "wait", wait, |module| &module.wait)?;
        let hold = "How long turns and passes took, since the start; the quantile 1 is the longest";
        self.quantiles(&mut out, "hold", hold, |module| &module.hold)?;
        let held = "How long the present turn has been held; 0 if nobody holds";
        self.gauge(&mut out, "held", held, Some(Unit::Seconds), |status| {
            status.holder.as_ref().map_or(0.0, |holder| holder.held.as_secs_f64())
        })?;
        let longest = "How long the longest waiting request has waited; 0 if nobody waits";
        self.gauge(&mut out, "waiting_longest", longest, Some(Unit::Seconds), |status| {
            let waited = status.waiters.iter().map(|waiter| waiter.waited.as_secs_f64());
            waited.fold(0.0, f64::max)
        })?;
        self.gauge(&mut out, "waiters", "Requests that wait", None, |status| {
            status.waiters.len() as f64
        })?;
        self.gauge(&mut out, "pauses", "Pauses in force", None, |s| s.paused.len() as f64)?;
        let abandoned = "Whether a turn was abandoned or revoked and nobody has acknowledged it";
        self.gauge(&mut out, "abandoned", abandoned, None, |s| f64::from(u8::from(s.abandoned)))?;
        let closed = "Whether the mutex takes no more requests";
        self.gauge(&mut out, "closed", closed, None, |s| f64::from(u8::from(s.closed)))?;
        self.holding(&mut out)?;
        self.modules(&mut out)?;
        let help = "Pages and other readers of /events";
        let gauge = ConstGauge::new(self.streams as f64);
        gauge.encode(out.encode_descriptor("page_streams", help, None, gauge.metric_type())?)
    }
}

impl Metrics {
    fn counts(
        &self,
        out: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: impl Fn(&ModuleStatus) -> u64,
    ) -> fmt::Result {
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut family = out.encode_descriptor(name, help, None, kind)?;
        self.each_module(|mutex, module| {
            let labels = [mutex, ("module", &module.module)];
            ConstCounter::new(of(module)).encode(family.encode_family(&labels)?)
        })
    }

    fn quantiles(
        &self,
        out: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        of: impl Fn(&ModuleStatus) -> &Percentiles,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = out.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        self.each_module(|mutex, module| {
            let Percentiles { p50, p99, max } = of(module);
            for (quantile, value) in [("0.5", p50), ("0.99", p99), ("1", max)] {
                let labels = [mutex, ("module", &module.module), ("quantile", quantile)];
                let gauge = ConstGauge::new(value.as_secs_f64());
                gauge.encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        })
    }

    fn gauge(
        &self,
        out: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        of: impl Fn(&Status) -> f64,
    ) -> fmt::Result {
        let kind = ConstGauge::new(0.0).metric_type();
        let mut family = out.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (mutex, status) in &self.mutexes {
            ConstGauge::new(of(status)).encode(family.encode_family(&[("mutex", &**mutex)])?)?;
        }
        Ok(())
    }

    fn holding(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "1 for the module that holds, 0 for all others";
        let kind = ConstGauge::new(0_u64 as f64).metric_type();
        let mut family = out.encode_descriptor("holds", help, None, kind)?;
        for (mutex, status) in &self.mutexes {
            let holder = status.holder.as_ref().map(|holder| &holder.module);
            for module in &status.modules {
                let labels = [("mutex", &**mutex), ("module", &*module.module)];
                let holds = f64::from(u8::from(holder == Some(&module.module)));
                ConstGauge::new(holds).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn modules(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = || ConstGauge::new(0.0).metric_type();
        let help = "1 if the module is disabled";
        let mut family = out.encode_descriptor("disabled", help, None, kind())?;
        self.each_module(|mutex, module| {
            let labels = [mutex, ("module", &module.module)];
            let disabled = f64::from(u8::from(module.disabled));
            ConstGauge::new(disabled).encode(family.encode_family(&labels)?)
        })?;
        let help = "1 for the mode that the module is in";
        let mut family = out.encode_descriptor("mode", help, None, kind())?;
        self.each_module(|mutex, module| {
            for mode in Mode::ALL.iter().copied() {
                let labels = [mutex, ("module", &module.module), ("mode", mode.name())];
                let is = f64::from(u8::from(module.mode == mode));
                ConstGauge::new(is).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        })
    }

    fn each_module(
        &self,
        mut act: impl FnMut(Label<'_>, &ModuleStatus) -> fmt::Result,
    ) -> fmt::Result {
        for (mutex, status) in &self.mutexes {
            status.modules.iter().try_for_each(|module| act(("mutex", mutex), module))?;
        }
        Ok(())
    }
}
