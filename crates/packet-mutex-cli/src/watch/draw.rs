//! How the view looks. Nothing jumps about: how many rows the queue and the lanes have depends on the size of the terminal,
//! not on how many requests are waiting. Each thing has a mark or a word of its own beside its colour.

use super::view::{Link, RecentEvent, View, precise, rough};
use crate::status;
use packet_mutex::{English, Mode, ModuleStatus, Status, WaiterStatus};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Padding, Paragraph, Widget};
use std::time::Duration;
use timeline::Cell;

/// Terminals with fewer rows get no empty lines.
const ROOMY: u16 = 20;
/// The rows of the queue, its heading included: the fewest, and how many it gets if there is room.
const QUEUE: (u16, u16) = (3, 8);
/// A tick of the lanes' axis takes at least this many columns.
const TICK: usize = 12;
/// A lane as wide as this has room to say what its marks mean.
const LEGEND: usize = 48;
/// Longer names are cut.
const LONGEST_NAME: usize = 20;

pub(super) fn draw(view: &View, frame: &mut Frame<'_>) {
    let area = frame.area();
    let mut canvas =
        Canvas { style: Palette { colours: view.colours }, buffer: frame.buffer_mut(), area };
    let rows = Rows::new(area.height, view.status.modules.len());
    canvas.head(view);
    canvas.holder(view, rows.holder);
    canvas.queue(view, rows.queue, rows.queue_rows);
    canvas.lanes(view, rows.lanes, rows.lane_rows);
    canvas.recent(view, rows.recent, rows.recent_rows);
    canvas.foot(view);
    if view.help {
        canvas.help();
    }
}

/// Which rows each part has.
struct Rows {
    holder: u16,
    queue: u16,
    queue_rows: u16,
    lanes: u16,
    lane_rows: u16,
    recent: u16,
    recent_rows: u16,
}

impl Rows {
    fn new(height: u16, modules: usize) -> Self {
        let gap = u16::from(height >= ROOMY);
        let foot = 1 + gap;
        let holder = 1 + gap;
        let queue = holder + 2 + gap;
        // The lanes have a heading and an axis.
        let room = height.saturating_sub(queue + 2 + 2 * gap + foot);
        let modules = u16::try_from(modules).unwrap_or(u16::MAX).max(1);
        let (least, most) = (QUEUE.0.max(room / 3), QUEUE.1.max(room / 3));
        let queue_rows = room.saturating_sub(modules).clamp(least, most).min(room);
        let lane_rows = modules.min(room - queue_rows);
        let lanes = queue + queue_rows + gap;
        let recent = lanes + lane_rows + 2 + gap;
        let recent_rows = height.saturating_sub(recent + foot + gap);
        Rows { holder, queue, queue_rows, lanes, lane_rows, recent, recent_rows }
    }
}

/// The terminal's own sixteen colours, on its own background, or no colours where none are wanted.
#[derive(Clone, Copy)]
struct Palette {
    colours: bool,
}

impl Palette {
    fn of(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn good(self) -> Style {
        self.of(Color::Green)
    }

    fn waits(self) -> Style {
        self.of(Color::Yellow)
    }

    fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn key(self) -> Style {
        self.of(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn cell(self, cell: Cell) -> Style {
        match cell {
            Cell::Hold => self.good(),
            Cell::Wait => self.waits(),
            Cell::Pass | Cell::Action => self.of(Color::Cyan),
            Cell::Refused | Cell::Trouble => self.bad(),
            Cell::Handover | Cell::Nothing => DIM,
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const PLAIN: Style = Style::new();

struct Canvas<'b> {
    style: Palette,
    buffer: &'b mut Buffer,
    area: Rect,
}

impl Canvas<'_> {
    fn width(&self) -> usize {
        usize::from(self.area.width)
    }

    /// Writes a row, with a free column at either side. A line that is too long ends with an ellipsis.
    fn row(&mut self, y: u16, line: Line<'_>) {
        if y >= self.area.height || self.area.width < 3 {
            return;
        }
        let width = self.area.width - 2;
        let (x, y) = (self.area.x + 1, self.area.y + y);
        self.buffer.set_line(x, y, &line, width);
        if line.width() > usize::from(width) {
            self.buffer.set_string(x + width - 1, y, "…", PLAIN);
        }
    }

    // The parts, from the top down.

    fn head(&mut self, view: &View) {
        let (mark, word, style) = match view.link() {
            Link::Live => ("●", "live".to_owned(), self.style.good()),
            Link::Silent(time) => {
                ("○", format!("no answer for {}", rough(time)), self.style.waits())
            }
            Link::Gone(..) => ("!", "reconnecting".to_owned(), self.style.bad()),
        };
        let right = 2 + word.len();
        let room = self.width().saturating_sub(2 + view.name.len() + 2 + 1 + right);
        let url = clip_left(&view.url, room);
        let gap = " ".repeat(1 + room.saturating_sub(Span::raw(&url).width()));
        self.row(
            0,
            Line::from(vec![
                Span::styled(view.name.clone(), BOLD),
                Span::raw("  "),
                Span::styled(url, DIM),
                Span::raw(gap),
                Span::styled(format!("{mark} {word}"), style),
            ]),
        );
    }

    fn holder(&mut self, view: &View, y: u16) {
        let status = &view.status;
        let line = match &status.holder {
            None => Line::from(vec![Span::styled("○ free", BOLD), last(status)]),
            Some(holder) => {
                let depth = match holder.depth {
                    0 | 1 => String::new(),
                    depth => format!(", {depth} turns deep"),
                };
                Line::from(vec![
                    Span::styled("● ", self.style.good()),
                    Span::styled(holder.module.to_string(), self.style.good().patch(BOLD)),
                    Span::raw(format!(" has held for {}", rough(holder.held))),
                    Span::styled(format!(", token {}{depth}", holder.token), DIM),
                ])
            }
        };
        self.row(y, line);
        let next = status::next(status, rough);
        let line = match next {
            Some((module, when)) => Line::from(vec![
                Span::styled("  next ", DIM),
                Span::styled(module.to_owned(), BOLD),
                Span::raw(format!(", {when}")),
            ]),
            None if status.waiters.is_empty() => Line::default(),
            None => Line::styled("  nobody is next", DIM),
        };
        self.row(y + 1, line);
    }

    fn queue(&mut self, view: &View, y: u16, rows: u16) {
        let end = y + rows;
        let mut y = y;
        // One row stays for the queue.
        let alerts = alerts(view, self.style);
        let shown = alerts.len().min(usize::from(rows.saturating_sub(2)));
        for line in alerts.into_iter().take(shown) {
            self.row(y, line);
            y += 1;
        }
        let waiters = &view.status.waiters;
        if waiters.is_empty() {
            self.row(y, Line::styled("  nobody is waiting", DIM));
            return;
        }
        let columns = QueueColumns::new(waiters, self.width());
        self.row(y, columns.heading(waiters.len()));
        y += 1;
        let room = usize::from(end.saturating_sub(y));
        let shown = if waiters.len() > room { room.saturating_sub(1) } else { waiters.len() };
        for (at, waiter) in waiters.iter().enumerate().take(shown) {
            let why =
                view.status.reason(at).map_or_else(String::new, |why| English(&why).to_string());
            self.row(y, columns.waiter(waiter, why, self.style));
            y += 1;
        }
        if shown < waiters.len() {
            self.row(y, Line::styled(format!("  … and {} more", waiters.len() - shown), DIM));
        }
    }

    fn lanes(&mut self, view: &View, y: u16, rows: u16) {
        let modules = view.modules();
        let chosen = view.chosen();
        // As far down as is needed for the chosen one.
        let skip = (chosen + 1).saturating_sub(usize::from(rows));
        let shown: Vec<&ModuleStatus> =
            modules.iter().skip(skip).take(usize::from(rows)).copied().collect();
        let columns = LaneColumns::new(&modules, self.width());
        let below = modules.len() - skip - shown.len();
        let more = match (skip, below) {
            (0, 0) => String::new(),
            (above, 0) => format!(" ↑{above}"),
            (0, below) => format!(" ↓{below}"),
            (above, below) => format!(" ↑{above} ↓{below}"),
        };
        self.row(y, columns.heading(&more, view.stretch()));

        let stretch = f64::from(view.stretch());
        let now = view.status.now.as_nanos() as f64 / 1e9;
        // The columns begin at multiples of their length, so that what is over moves and does not flicker.
        let step = stretch / columns.lane as f64;
        let to = (now / step).ceil() * step;
        let drawn = view.lanes.rows(to - stretch, to, columns.lane);
        for (at, module) in shown.iter().enumerate() {
            let lane = drawn.iter().find(|(name, _)| **name == *module.module);
            let cells = lane.map_or(&[][..], |(_, cells)| cells);
            let line = columns.module(view, module, skip + at == chosen, cells, self.style);
            self.row(y + 1 + at as u16, line);
        }
        self.row(y + 1 + shown.len() as u16, columns.axis(view.stretch()));
    }

    fn recent(&mut self, view: &View, y: u16, rows: u16) {
        if rows < 2 || view.recent.is_empty() {
            return;
        }
        self.row(y, Line::styled("recently", DIM));
        let count = usize::from(rows - 1).min(view.recent.len());
        let skip = view.recent.len() - count;
        let names = view.recent.iter().map(|event| event.module.len());
        let width = names.max().unwrap_or(0).min(LONGEST_NAME);
        for (at, event) in view.recent.iter().skip(skip).enumerate() {
            let RecentEvent { t, module, what, is_trouble } = event;
            let style = if *is_trouble { self.style.bad() } else { PLAIN };
            let mark = if *is_trouble { "! " } else { "  " };
            let line = Line::from(vec![
                Span::styled(mark, style),
                Span::styled(format!("{t:10.3}  "), DIM),
                Span::raw(format!("{:width$}  ", clip(module, width))),
                Span::styled(what.clone(), style),
            ]);
            self.row(y + 1 + at as u16, line);
        }
    }

    /// The keys in the last row. A question or a message is in the row before, or in a low terminal takes their place.
    fn foot(&mut self, view: &View) {
        let Some(last) = self.area.height.checked_sub(1) else { return };
        let message = if let Some((question, keys)) = view.question() {
            Some(Line::from(vec![
                Span::styled("? ", self.style.waits()),
                Span::styled(question, BOLD),
                Span::raw("  "),
                Span::styled(keys, self.style.key()),
            ]))
        } else {
            view.message().map(|message| {
                let (mark, style) = if message.is_bad {
                    ("! ", self.style.bad())
                } else {
                    ("✓ ", self.style.good())
                };
                Line::from(vec![Span::styled(mark, style), Span::raw(message.text.clone())])
            })
        };
        let keys = self.keys(view);
        match message {
            Some(message) if self.area.height >= ROOMY => {
                self.row(last - 1, message);
                self.row(last, keys);
            }
            message => self.row(last, message.unwrap_or(keys)),
        }
    }

    fn keys(&self, view: &View) -> Line<'static> {
        let modules = view.modules();
        let able = modules.get(view.chosen()).is_some_and(|module| module.disabled);
        let able = if able { ("e", "enable") } else { ("d", "disable") };
        let paused = if view.status.paused.is_empty() { ("p", "pause") } else { ("r", "resume") };
        let keys = [
            ("?", "help"),
            ("q", "quit"),
            ("↑↓", "choose"),
            ("c", "cancel"),
            able,
            paused,
            ("m", "mode"),
            ("+-", "time"),
        ];
        let mut line = Line::default();
        for (key, does) in keys {
            line.push_span(Span::styled(key, self.style.key()));
            line.push_span(Span::styled(format!(" {does}  "), DIM));
        }
        // Half a key would mislead, so what does not fit is left out.
        while line.width() > self.width() {
            line.spans.truncate(line.spans.len().saturating_sub(2));
        }
        line
    }

    fn help(&mut self) {
        let key = |keys: &'static str, does: &'static str| {
            Line::from(vec![Span::styled(format!("{keys:<9}"), self.style.key()), Span::raw(does)])
        };
        let mark = |cell: Cell| {
            let mark = Span::styled(cell.letter().to_string(), self.style.cell(cell));
            [mark, Span::raw(format!(" {}  ", cell.meaning()))]
        };
        let cells = [Cell::Hold, Cell::Wait, Cell::Handover, Cell::Pass, Cell::Trouble];
        let lines = vec![
            key("↑ ↓", "choose a module"),
            key("c", "cancel its waiting requests"),
            key("d, e", "disable it, enable it"),
            key("m", "switch its mode"),
            key("p, r", "pause all but urgent requests, resume"),
            key("+, -", "show a longer, a shorter time"),
            key("Ctrl-Z", "suspend; Ctrl-L redraws"),
            key("q", "quit, as do Esc and Ctrl-C"),
            Line::default(),
            Line::from(cells.into_iter().flat_map(mark).collect::<Vec<_>>()),
            Line::raw("● holds  ○ waits  ! urgent  ‖ held back by a pause"),
        ];
        let wide = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 4;
        let high = lines.len() as u16 + 2;
        let (width, height) = (wide.min(self.area.width), high.min(self.area.height));
        let area = Rect {
            x: self.area.x + (self.area.width - width) / 2,
            y: self.area.y + (self.area.height - height) / 2,
            width,
            height,
        };
        Clear.render(area, self.buffer);
        let block = Block::bordered().title(" keys and marks ").padding(Padding::horizontal(1));
        Paragraph::new(lines).block(block).render(area, self.buffer);
    }
}

fn last(status: &Status) -> Span<'static> {
    Span::styled(
        status.last.as_ref().map_or_else(String::new, |(module, ended)| {
            format!(", last {module}, ended {} ago", rough(*ended))
        }),
        DIM,
    )
}

/// Returns a line for each thing that is out of the ordinary.
fn alerts(view: &View, style: Palette) -> Vec<Line<'static>> {
    let status = &view.status;
    let mut lines = Vec::new();
    let mut alert = |mark: &str, bold: &str, text: String| {
        lines.push(Line::from(vec![
            Span::styled(format!("{mark} {bold}"), style.bad()),
            Span::raw(text),
        ]));
    };
    if let Link::Gone(time, why) = view.link() {
        alert("!", "not connected", format!("; this is {} old: {why}", rough(time)));
    }
    if status.closed {
        alert("!", "closed", ": it accepts no more requests".into());
    }
    for pause in &status.paused {
        let whom = status::pause(pause, rough);
        alert("‖", "paused", format!(": {} ({whom})", pause.reason));
    }
    if status.abandoned {
        alert("!", "a turn was abandoned or revoked", " and nobody has acknowledged it".into());
    }
    lines
}

/// The columns of the queue.
struct QueueColumns {
    name: usize,
    aged: bool,
    deadline: bool,
}

impl QueueColumns {
    fn new(waiters: &[WaiterStatus], width: usize) -> Self {
        let longest = waiters.iter().map(|waiter| waiter.module.len()).max().unwrap_or(0);
        QueueColumns {
            // The heading is as wide as this.
            name: longest.clamp(8, LONGEST_NAME.min(width / 4).max(8)),
            aged: waiters.iter().any(|w| w.effective - f64::from(w.priority) >= 0.05),
            deadline: width >= 96,
        }
    }

    fn heading(&self, count: usize) -> Line<'static> {
        let aged = if self.aged { "   aged" } else { "" };
        let deadline = if self.deadline { "    at most" } else { "" };
        let waits = format!("{count} waiting");
        let name = self.name;
        Line::styled(format!("  {waits:name$}  prio{aged}       for{deadline}  why"), DIM)
    }

    fn waiter(&self, waiter: &WaiterStatus, why: String, style: Palette) -> Line<'static> {
        let (mark, mark_style) = match (waiter.urgent, &waiter.paused) {
            (true, _) => ("! ", style.bad()),
            (false, Some(_)) => ("‖ ", style.bad()),
            (false, None) => ("○ ", style.waits()),
        };
        let name = self.name;
        let aged = if self.aged { format!("  {:5.1}", waiter.effective) } else { String::new() };
        let deadline =
            if self.deadline { format!("  {:>9}", rough(waiter.deadline)) } else { String::new() };
        let urgent = if waiter.urgent { "urgent, " } else { "" };
        Line::from(vec![
            Span::styled(mark, mark_style),
            Span::styled(format!("{:name$}", clip(&waiter.module, name)), BOLD),
            Span::raw(format!("  {:4}{aged}", waiter.priority)),
            Span::styled(format!("  {:>8}", rough(waiter.waited)), style.waits()),
            Span::styled(deadline, DIM),
            Span::raw(format!("  {urgent}{why}")),
        ])
    }
}

/// The columns of the modules: a name, a lane, and as many numbers as there is room for.
struct LaneColumns {
    name: usize,
    /// The width of the modes; 0 if all modules are enforced.
    mode: usize,
    lane: usize,
    numbers: Vec<Number>,
}

/// A column of numbers. Where there is little room, only columns of low rank are shown.
struct Number {
    heading: &'static str,
    width: usize,
    rank: usize,
    of: fn(&ModuleStatus) -> String,
}

const fn number(
    heading: &'static str,
    width: usize,
    rank: usize,
    of: fn(&ModuleStatus) -> String,
) -> Number {
    Number { heading, width, rank, of }
}

const NUMBERS: [Number; 8] = [
    number("turns", 8, 0, |m| count(m.turns + m.passes)),
    number("timeouts", 9, 1, |m| count(m.timeouts)),
    number("wait p50", 9, 2, |m| time(m, m.wait.p50)),
    number("p99", 9, 6, |m| time(m, m.wait.p99)),
    number("max", 9, 3, |m| time(m, m.wait.max)),
    number("hold p50", 9, 4, |m| time(m, m.hold.p50)),
    number("p99", 9, 7, |m| time(m, m.hold.p99)),
    number("max", 9, 5, |m| time(m, m.hold.max)),
];

fn count(count: u64) -> String {
    if count == 0 { "·".into() } else { count.to_string() }
}

fn time(module: &ModuleStatus, time: Duration) -> String {
    if module.turns + module.passes == 0 { "·".into() } else { precise(time) }
}

impl LaneColumns {
    fn new(modules: &[&ModuleStatus], width: usize) -> Self {
        let longest = modules.iter().map(|module| module.module.len()).max().unwrap_or(0);
        let name = longest.clamp(8, LONGEST_NAME.min(width / 4).max(8));
        let mode = modules.iter().map(|module| mode_of(module).len()).max().unwrap_or(0);
        let mode = if mode > 0 { mode + 1 } else { 0 };
        let room = width.saturating_sub(2 + 4 + name + 1 + mode);
        // The lane keeps at least half.
        let fits = |ranks: &usize| {
            let of_ranks = NUMBERS.iter().filter(|number| number.rank < *ranks);
            of_ranks.map(|number| number.width).sum::<usize>() <= room / 2
        };
        let ranks = (0..=NUMBERS.len()).rev().find(fits).unwrap_or(0);
        let numbers: Vec<Number> = NUMBERS.into_iter().filter(|n| n.rank < ranks).collect();
        let taken: usize = numbers.iter().map(|number| number.width).sum();
        LaneColumns { name, mode, lane: room.saturating_sub(taken).max(1), numbers }
    }

    fn heading(&self, more: &str, stretch: u32) -> Line<'static> {
        let (name, lane, mode) = (self.name, self.lane, self.mode);
        let mut about = format!("last {}", long(stretch));
        for cell in [Cell::Hold, Cell::Wait, Cell::Handover] {
            let meaning = format!("  {} {}", cell.letter(), cell.meaning());
            // All of it, or none.
            about += if lane >= LEGEND { &meaning } else { "" };
        }
        let mut line = format!("    {:name$} {:mode$}{about:lane$}", format!("module{more}"), "");
        for Number { heading, width, .. } in &self.numbers {
            line += &format!("{heading:>width$}");
        }
        Line::styled(line, DIM)
    }

    fn module(
        &self,
        view: &View,
        module: &ModuleStatus,
        is_chosen: bool,
        cells: &[Cell],
        style: Palette,
    ) -> Line<'static> {
        let holds = view.status.holder.as_ref().is_some_and(|h| h.module == module.module);
        let (mark, mark_style) = if holds {
            ("● ", style.good())
        } else if view.waiting(&module.module) > 0 {
            ("○ ", style.waits())
        } else {
            ("  ", PLAIN)
        };
        let chosen = if is_chosen { ("▸ ", style.key()) } else { ("  ", PLAIN) };
        let (name, mode) = (self.name, self.mode);
        let mut line = Line::from(vec![
            Span::styled(chosen.0, chosen.1),
            Span::styled(mark, mark_style),
            Span::styled(
                format!("{:name$} ", clip(&module.module, name)),
                if is_chosen { BOLD } else { PLAIN },
            ),
            Span::styled(
                format!("{:mode$}", mode_of(module)),
                if module.disabled { style.bad() } else { style.of(Color::Cyan) },
            ),
        ]);
        for run in cells.chunk_by(|a, b| a == b) {
            let letters = run.iter().map(|cell| cell.letter()).collect::<String>();
            line.push_span(Span::styled(letters, style.cell(run[0])));
        }
        line.push_span(Span::raw(" ".repeat(self.lane.saturating_sub(cells.len()))));
        for Number { width, of, .. } in &self.numbers {
            line.push_span(Span::raw(format!("{:>width$}", of(module))));
        }
        line
    }

    /// Returns the axis: now at the right, and every dozen columns or so how long ago that was.
    fn axis(&self, stretch: u32) -> Line<'static> {
        let mut axis: Vec<char> = vec![' '; self.lane];
        // Round numbers of seconds, as few as there is room for.
        let steps = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600];
        let columns = |seconds: u32| seconds as usize * self.lane / stretch as usize;
        let step = steps.into_iter().find(|step| columns(*step) >= TICK).unwrap_or(stretch);
        let mut put = |end: usize, text: &str| {
            let length = text.chars().count();
            if let Some(start) = end.checked_sub(length) {
                axis[start..end].iter_mut().zip(text.chars()).for_each(|(at, c)| *at = c);
            }
        };
        put(self.lane, "now");
        for ago in (step..=stretch).step_by(step as usize) {
            let at = self.lane - columns(ago);
            let text = format!("-{}", long(ago));
            // It begins in the column that is so long ago.
            put((at + text.chars().count()).min(self.lane), &text);
        }
        let indent = 4 + self.name + 1 + self.mode;
        Line::styled(" ".repeat(indent) + &axis.into_iter().collect::<String>(), DIM)
    }
}

fn mode_of(module: &ModuleStatus) -> &'static str {
    match (module.disabled, module.mode) {
        (true, _) => "disabled",
        (false, Mode::Enforced) => "",
        (false, mode) => mode.name(),
    }
}

/// Returns whole seconds or minutes.
fn long(seconds: u32) -> String {
    if seconds >= 60 && seconds.is_multiple_of(60) {
        format!("{} min", seconds / 60)
    } else {
        format!("{seconds} s")
    }
}

/// Cuts a name, which is ASCII, to at most this many columns.
fn clip(name: &str, width: usize) -> String {
    if name.len() <= width {
        return name.to_owned();
    }
    name.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Returns the end of a text, in at most this many columns.
fn clip_left(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut rest = text.chars();
    while Span::raw(rest.as_str()).width() + 1 > width && rest.next().is_some() {}
    if width == 0 { String::new() } else { format!("…{}", rest.as_str()) }
}
