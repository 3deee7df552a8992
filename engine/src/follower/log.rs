//! Following one log that somebody else writes.
//!
//! Invariants:
//! - An effect is given out only when its frame lies below a durable position that a valid frame carried, or
//!   below the end that the manifest gives to a sealed segment. What was given out is never taken back.
//! - Where no whole frame stands, the log has not come there yet. It is damage only if it is proven as
//!   recovery proves it, and if the place is still bad when it is read after the proof.
//! - An error leaves the place where reading goes on as it was, or has reading begin anew.

use crate::canary::{self, Canary};
use crate::error::{Error, Result};
use crate::io::{File, Storage};
use crate::lane::catalog::CatalogChange;
use crate::lane::checkpoint::Assembly;
use crate::lane::entries::{self, TruncateEntry};
use crate::lane::recovery::{self, LiveSegment, PROBE_BYTES};
use crate::lane::state::{LogState, Unseen, Withheld};
use crate::log::frame::{BadFrame, FrameHeader, Kind, u64_at};
use crate::log::judge;
use crate::log::manifest::{Manifest, ManifestSegment, SegmentState};
use crate::log::position::{Identity, Position};
use crate::log::scan::{NoFrame, SegmentScan};
use crate::log::segment::file_name;
use crate::partition::index::Run;
use crate::partition::shared::{LogShared, Segment};
use std::collections::VecDeque;
use std::sync::Arc;

/// A place where nothing comes is looked at closely when it was looked at so often, and then at each doubling:
/// that reads all that is behind it.
const WAITS_MIN: u64 = 64;

/// What a frame changes for readers once it is durable.
pub(super) enum Effect {
    /// Records of a slot are visible.
    Run(u32, Run),
    /// A topic came or went.
    Catalog(CatalogChange),
    /// The fronts of partitions were given up.
    Truncated(Vec<TruncateEntry>),
}

/// What following found.
#[derive(Default)]
pub(super) struct Step {
    /// Reading began anew, and this is the log up to the first effect.
    pub(super) restarted: Option<LogState>,
    /// What became visible, in log order.
    pub(super) effects: Vec<Effect>,
    /// Segments that the manifest calls sealed and that were read to their ends.
    pub(super) sealed: Vec<(Arc<Segment>, Position)>,
    /// What is read from copies from now on stands below this.
    pub(super) copied_to: Position,
}

/// The manifest that is followed, and where.
pub(super) struct Context<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) manifest: &'a Manifest,
}

/// Where reading stands.
struct Place {
    segment: ManifestSegment,
    file: Arc<dyn File>,
    position: Position,
    previous_checksum: Option<u32>,
    checkpoint: Assembly,
    /// The segment that its End frame names.
    next: Option<Position>,
}

/// See the module.
pub(super) struct LogFollower {
    pub(super) shared: Arc<LogShared>,
    /// `None`: reading begins anew.
    place: Option<Place>,
    /// The log up to there.
    state: LogState,
    /// The first checkpoint since reading began anew was taken over.
    has_state: bool,
    /// What is not known to be durable yet.
    effects: VecDeque<(Position, Effect)>,
    /// Withheld frames that are published or cancelled by then, which is not known to be durable either.
    undecided: VecDeque<(Position, Withheld)>,
    durable: Position,
    /// There are copies up to here of which readers were not told yet.
    copied_to: Position,
    /// Where no frame was, and how often.
    waits: (Position, u64),
    /// Reading began anew, and has not come to its first such place.
    is_new: bool,
    /// The last frame says that the log was closed.
    pub(super) is_closed: bool,
}

impl LogFollower {
    pub(super) fn new(shared: Arc<LogShared>) -> LogFollower {
        LogFollower {
            shared,
            place: None,
            state: LogState::default(),
            has_state: false,
            effects: VecDeque::new(),
            undecided: VecDeque::new(),
            durable: Position(0),
            copied_to: Position(0),
            waits: (Position(0), 0),
            is_new: false,
            is_closed: false,
        }
    }

    /// Everything below was durable when it was looked at last.
    pub(super) fn durable(&self) -> Position {
        self.durable
    }

    /// How far whole frames were read.
    pub(super) fn tail(&self) -> Position {
        self.place.as_ref().map_or(Position(0), |place| place.position)
    }

    /// Records that are withheld, as far as the log was read.
    pub(super) fn withheld_records(&self) -> u64 {
        self.state.withheld_records()
    }

    /// The numbers of a producer in a partition that are not visible, as far as the log is known to be durable: what was
    /// decided behind that may still be undone, and is not shown.
    pub(super) fn unseen(&self, producer: u32, slot: u32) -> Unseen {
        let mut unseen = self.state.unseen(producer, slot);
        let undecided = self.undecided.iter().filter_map(|(_, withheld)| withheld.numbers_of(producer, slot));
        unseen.withheld.extend(undecided);
        unseen
    }

    /// Whether the log says that a topic is deleted, in a frame that nothing proves to be durable yet.
    pub(super) fn is_deleting(&self, id: u32) -> bool {
        let deletes =
            |effect: &Effect| matches!(effect, Effect::Catalog(CatalogChange::Delete { topic }) if *topic == id);
        self.effects.iter().any(|(_, effect)| deletes(effect))
    }

    /// The first offset that a partition has left, if frames give up others that nothing proves to be durable yet.
    pub(super) fn truncating(&self, slot: u32) -> Option<u64> {
        let entries = self.effects.iter().flat_map(|(_, effect)| match effect {
            Effect::Truncated(entries) => &entries[..],
            _ => &[],
        });
        entries.filter(|entry| entry.slot == slot).map(|entry| entry.first_offset).max()
    }

    /// Has reading begin anew.
    pub(super) fn begin_anew(&mut self) {
        self.place = None;
    }

    /// Reads on from where it stood.
    pub(super) fn follow(&mut self, context: &Context<'_>) -> Result<Step> {
        let segments = context.manifest.segments_of(self.shared.id);
        let mut step = Step::default();
        self.copied_to = self.copied_to.max(take_over(&self.shared, &segments));
        // Only what was sealed is copied.
        self.durable = self.durable.max(self.copied_to);
        if (!self.is_on_course(&segments) || self.is_left_behind(context, &segments))
            && !self.begin(context, &segments)?
        {
            return Ok(step);
        }
        self.walk(context, &segments, &mut step)?;
        self.release(&mut step);
        self.find_sealed(&segments, &mut step);
        step.copied_to = std::mem::take(&mut self.copied_to);
        Ok(step)
    }

    // ----- the segments as the manifest has them -----

    /// Whether reading can go on where it stood. Not so if the log was cut there, if the segment is gone, or if
    /// the log is so far ahead that its newest checkpoint is the shorter way.
    fn is_on_course(&mut self, segments: &[ManifestSegment]) -> bool {
        let Some(place) = &mut self.place else { return false };
        let Some(now) = segments.iter().find(|segment| segment.is_same_use(&place.segment)) else { return false };
        if now.state == SegmentState::Sealed {
            let is_sealed_behind = |s: &&ManifestSegment| s.from() > now.base && s.state == SegmentState::Sealed;
            let behind = segments.iter().filter(is_sealed_behind).count();
            if now.end < place.position || behind > usize::from(place.position == now.end) {
                return false;
            }
        }
        place.segment = *now;
        true
    }

    /// Whether the segment was read to its end, and the log went on elsewhere than where its End frame says: in
    /// another generation, or the segments in between were given up. Only a later checkpoint says how.
    fn is_left_behind(&self, context: &Context<'_>, segments: &[ManifestSegment]) -> bool {
        let Some(place) = &self.place else { return false };
        let is_at_the_end = place.segment.state == SegmentState::Sealed && place.position == place.segment.end;
        let goes_on = || segments.iter().any(|segment| place.next == Some(segment.base));
        let has_checkpoint = |later: &ManifestSegment| {
            let open = open_segment(context, later);
            open.is_ok_and(|open| recovery::whole_checkpoint(*later, &open.file).is_some())
        };
        is_at_the_end
            && !goes_on()
            && segments.iter().filter(|segment| segment.from() > place.segment.base).any(has_checkpoint)
    }

    /// Finds the newest checkpoint that counts. `false`: none was written yet.
    fn begin(&mut self, context: &Context<'_>, segments: &[ManifestSegment]) -> Result<bool> {
        self.place = None;
        self.effects.clear();
        self.undecided.clear();
        self.has_state = false;
        let first_live = segments.iter().position(|s| s.state == SegmentState::Live).unwrap_or(segments.len());
        let from = first_live.saturating_sub(1);
        let mut open = Vec::new();
        for segment in &segments[from..] {
            open.push(open_segment(context, segment)?);
        }
        let Some(start) = recovery::proven_start(&open) else { return Ok(false) };
        for segment in segments.iter().filter(|segment| segment.state == SegmentState::Sealed) {
            self.add(segment, Some(segment.end));
        }
        // Left by the lane and not sealed yet: the segment behind says where they end.
        for at in 0..start {
            if open[at].segment.state == SegmentState::Live {
                self.add(&open[at].segment, Some(recovery::end_before(&open[at].segment, &open[at + 1])?.0));
            }
        }
        let LiveSegment { segment, file } = &open[start];
        if segment.state == SegmentState::Live {
            self.add(segment, None);
        }
        self.place = Some(Place::at_the_beginning(*segment, file.clone(), None));
        self.is_new = true;
        Ok(true)
    }

    /// Shows a segment to readers, unless they have it already.
    fn add(&self, segment: &ManifestSegment, end: Option<Position>) {
        let held = self.shared.segment_at(segment.base).filter(|held| held.manifest.is_same_use(segment));
        let held = held.unwrap_or_else(|| {
            let new = Arc::new(Segment::new(ManifestSegment { end: Position(0), ..*segment }));
            self.shared.add_segment(new.clone());
            new
        });
        if let Some(end) = end {
            held.set_end(end);
        }
    }

    /// Enters the segment that the log goes on in. `false`: there is none yet.
    fn enter_next(&mut self, context: &Context<'_>, segments: &[ManifestSegment]) -> Result<bool> {
        let Some(place) = &self.place else { return Ok(false) };
        let Some(next) = segments.iter().find(|segment| place.next == Some(segment.base)) else { return Ok(false) };
        let LiveSegment { segment, file } = open_segment(context, next)?;
        self.add(&segment, None);
        self.place = Some(Place::at_the_beginning(segment, file, place.previous_checksum));
        Ok(true)
    }

    fn find_sealed(&self, segments: &[ManifestSegment], step: &mut Step) {
        let Some(place) = &self.place else { return };
        for sealed in segments.iter().filter(|segment| segment.state == SegmentState::Sealed) {
            let was_read = sealed.from() < place.segment.base || place.position >= sealed.end;
            if let Some(held) = self.shared.segment_at(sealed.base).filter(|held| held.end().is_none())
                && sealed.from() <= place.segment.base
                && was_read
            {
                step.sealed.push((held, sealed.end));
            }
        }
    }

    // ----- reading -----

    fn walk(&mut self, context: &Context<'_>, segments: &[ManifestSegment], step: &mut Step) -> Result<()> {
        while let Some(place) = &self.place {
            let mut scan = SegmentScan::from_little(place.segment, place.file.clone());
            let limit = match place.segment.state {
                SegmentState::Sealed => place.segment.end,
                _ => place.segment.limit(),
            };
            if place.segment.state == SegmentState::Sealed {
                self.durable = self.durable.max(limit);
            }
            while let Some(place) = &self.place
                && place.position < limit
                && place.next.is_none()
            {
                match scan.frame(place.position) {
                    Ok((header, body)) => self.take(context, header, body, step).inspect_err(|_| self.begin_anew())?,
                    Err(no_frame) => return self.not_there(context, segments, &no_frame),
                }
            }
            if !self.enter_next(context, segments)? {
                break;
            }
        }
        Ok(())
    }

    /// Takes a whole frame in.
    fn take(&mut self, context: &Context<'_>, header: FrameHeader, body: &[u8], step: &mut Step) -> Result<()> {
        let place = self.place.as_mut().expect("a frame was read there");
        let segment = place.segment;
        let damaged = |reason: String| segment.damage(header.position, header.total_bytes(), reason);
        let broken = place.previous_checksum.and_then(|expected| judge::accuse_chain(expected, &header));
        let window_bytes = context.manifest.window_bytes;
        if let Some(reason) = broken.or_else(|| judge::accuse_itself(window_bytes, &header)) {
            return Err(damaged(reason));
        }
        let end = header.end();
        self.is_closed = false;
        match header.kind {
            Kind::Checkpoint => {
                let assembled = place.checkpoint.push(body).map_err(|reason| damaged(reason.to_owned()))?;
                if let Some(state) = assembled {
                    if !self.has_state {
                        step.restarted = Some(state.clone());
                        self.has_state = true;
                    } else if let Some(slot) = differs(&self.state, &state) {
                        return Err(damaged(format!(
                            "its checkpoint contradicts the frames before it, in slot {slot}"
                        )));
                    }
                    // The lane may have forgotten partitions without a word; so they are forgotten here.
                    self.state = state;
                }
            }
            Kind::End => {
                let base = body.get(..8).ok_or_else(|| damaged("its End frame is too short".to_owned()))?;
                place.next = Some(Position(u64_at(base, 0)));
            }
            Kind::Mark => self.is_closed = body.first() == Some(&1),
            kind => {
                let decided = decided(&self.state, kind, body);
                self.undecided.extend(decided.into_iter().map(|withheld| (end, withheld)));
                let effects = &mut self.effects;
                let show = &mut |slot, run| effects.push_back((end, Effect::Run(slot, run)));
                self.state.apply(place.segment.log, &header, body, show).map_err(damaged)?;
                match kind {
                    Kind::Catalog => {
                        self.effects.extend(CatalogChange::decode(body).map(|change| (end, Effect::Catalog(change))));
                    }
                    Kind::Truncate => {
                        let entries = entries::decode_truncate(body);
                        self.effects.extend(entries.map(|entries| (end, Effect::Truncated(entries))));
                    }
                    _ => {}
                }
            }
        }
        place.previous_checksum = Some(header.header_checksum);
        place.position = end;
        self.durable = self.durable.max(header.durable);
        Ok(())
    }

    fn release(&mut self, step: &mut Step) {
        let limit = if canary::sings(Canary::ShowUndurable) { Position(u64::MAX) } else { self.durable };
        while let Some((_, effect)) = self.effects.pop_front_if(|(end, _)| *end <= limit) {
            step.effects.push(effect);
        }
        while self.undecided.pop_front_if(|(end, _)| *end <= limit).is_some() {}
        self.shared.durable.fetch_max(self.durable.0, std::sync::atomic::Ordering::AcqRel);
    }

    // ----- where no frame is -----

    /// The log has not come here yet, unless something proves that it has.
    fn not_there(&mut self, context: &Context<'_>, segments: &[ManifestSegment], no_frame: &NoFrame) -> Result<()> {
        let Some(place) = &self.place else { return Ok(()) };
        let (segment, position) = (place.segment, place.position);
        match no_frame {
            NoFrame::Unreadable(text) => {
                let failure = crate::io::IoFailure {
                    operation: "read",
                    file: file_name(segment.file),
                    offset: Some(position.since(segment.base)),
                    errno: None,
                    message: text.clone(),
                };
                return Err(Error::Io(failure));
            }
            NoFrame::Bad(BadFrame::Version(found)) => return Err(recovery::newer(&segment, *found)),
            NoFrame::Bad(_) => {}
        }
        self.waits = (position, if self.waits.0 == position { self.waits.1 + 1 } else { 1 });
        let waits_min = if self.durable > position { 1 } else { WAITS_MIN };
        let waited_long = self.waits.1 >= waits_min && self.waits.1.is_power_of_two();
        if segment.state != SegmentState::Sealed && !waited_long && !std::mem::take(&mut self.is_new) {
            return Ok(());
        }
        let Some(proof) = self.proof(context, segments)? else { return Ok(()) };
        // What was written between the two looks is there now.
        let mut again = SegmentScan::from_little(segment, place.file.clone());
        match again.frame(position) {
            Ok(_) => Ok(()),
            Err(no_frame) => {
                check_header(context, &segment, &place.file)?;
                Err(segment.damage(position, segment.limit().since(position), format!("{no_frame}; {proof}")))
            }
        }
    }

    /// What proves that a frame was durable where none is.
    fn proof(&self, context: &Context<'_>, segments: &[ManifestSegment]) -> Result<Option<String>> {
        let Some(Place { segment, file, position, .. }) = &self.place else { return Ok(None) };
        if segment.state == SegmentState::Sealed
            && let Some(reason) = judge::accuse_sealed(*position, segment.end)
        {
            return Ok(Some(reason));
        }
        let bad = SegmentScan::from_little(*segment, file.clone()).bad_place(*position);
        if bad.was_durable_at(self.durable) {
            return Ok(Some(format!("a frame before it says that everything below {} was durable", self.durable)));
        }
        for later in segments.iter().filter(|later| later.from() >= segment.base) {
            let (mut from, limit) = match later.base == segment.base {
                true => (*position, later.limit()),
                false => (later.first_frame(), later.first_frame().advance(PROBE_BYTES).min(later.limit())),
            };
            let mut scan = SegmentScan::new(*later, open_segment(context, later)?.file);
            while let Some(witness) = scan.find_valid(from, limit) {
                if let Some(reason) = judge::accuse(bad, context.manifest.window_bytes, &witness) {
                    return Ok(Some(reason));
                }
                from = witness.end();
            }
        }
        Ok(None)
    }
}

impl Place {
    fn at_the_beginning(segment: ManifestSegment, file: Arc<dyn File>, previous_checksum: Option<u32>) -> Place {
        let (position, checkpoint) = (segment.first_frame(), Assembly::default());
        Place { segment, file, position, previous_checksum, checkpoint, next: None }
    }
}

/// The withheld frames that a frame publishes or cancels.
fn decided(state: &LogState, kind: Kind, body: &[u8]) -> Vec<Withheld> {
    let identities: Vec<Identity> = match kind {
        Kind::Publish => {
            let (entries, _) = entries::decode_publish(body).unwrap_or_default();
            entries.into_iter().map(|entry| entry.identity).collect()
        }
        Kind::Discard => {
            let (entries, _) = entries::decode_discard(body).unwrap_or_default();
            entries.into_iter().map(|entry| entry.identity).collect()
        }
        _ => Vec::new(),
    };
    identities.into_iter().filter_map(|identity| state.withheld_frame(identity)).collect()
}

/// A partition of which a checkpoint says something else than the frames before it.
fn differs(state: &LogState, checkpoint: &LogState) -> Option<u32> {
    checkpoint.slots().find(|slot| checkpoint.partition(*slot).next_offset != state.partition(*slot).next_offset)
}

/// What the cleaner has copied since is read from the copies, and segments that the manifest does not have any more are
/// nobody's to read. The copies come before their sources go. Returns up to where there are new ones.
pub(super) fn take_over(log: &LogShared, segments: &[ManifestSegment]) -> Position {
    let mut copied_to = Position(0);
    for copy in segments.iter().filter(|segment| segment.copy_of.is_some()) {
        if log.segment_at(copy.base).is_none() {
            log.add_segment(Arc::new(Segment::new(*copy)));
            copied_to = copied_to.max(copy.to());
        }
    }
    for held in log.segments() {
        if !segments.iter().any(|segment| segment.is_same_use(&held.manifest)) {
            log.remove_segment(&held);
        }
    }
    copied_to
}

fn open_segment(context: &Context<'_>, segment: &ManifestSegment) -> Result<LiveSegment> {
    let name = file_name(segment.file);
    let file =
        context.storage.open(&name, crate::io::Access::Read).map_err(|error| Error::io("open", &name, None, &error))?;
    check_header(context, segment, &file)?;
    Ok(LiveSegment { segment: *segment, file })
}

/// Whether the file still is what the manifest says.
fn check_header(context: &Context<'_>, segment: &ManifestSegment, file: &Arc<dyn File>) -> Result<()> {
    let mut page = crate::io::Block::zeroed(crate::io::PAGE);
    let read = file
        .read_at(page.as_mut_slice(), 0)
        .map_err(|error| Error::io("read the header of", file.name(), Some(0), &error))?;
    segment.check_header(&page.as_mut_slice()[..read], context.manifest.engine_id, context.manifest.window_bytes)
}
