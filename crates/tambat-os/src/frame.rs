//! Length-prefixed frames and the fields inside them; little-endian. Both ends are always the same binary, so
//! there are no versions.

use std::time::Duration;

/// What came over a keeper's socket is not what a keeper says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProtocolError {
    /// A frame announces more than any real one has.
    #[error("a frame of {bytes} bytes; at most {max} are possible")]
    TooLarge {
        /// What it announced.
        bytes: usize,
        /// What is possible.
        max: usize,
    },
    /// A frame ends inside a field, or after its last one.
    #[error("a frame whose length does not fit its fields")]
    Length,
    /// A field holds something that does not exist.
    #[error("a frame with an impossible {0}")]
    Value(&'static str),
}

const LENGTH_BYTES: usize = 4;

/// Cuts a stream of bytes into frames; after the first error it says nothing more.
#[derive(Debug)]
pub(crate) struct FrameReader {
    buffer: Vec<u8>,
    max_bytes: usize,
    broken: bool,
}

impl FrameReader {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { buffer: Vec::new(), max_bytes, broken: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next whole frame's content.
    pub(crate) fn next(&mut self) -> Option<Result<Vec<u8>, ProtocolError>> {
        let prefix = self.buffer.first_chunk::<LENGTH_BYTES>()?;
        let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.max_bytes {
            self.broken = true;
            self.buffer = Vec::new();
            return Some(Err(ProtocolError::TooLarge { bytes: length, max: self.max_bytes }));
        }
        let end = LENGTH_BYTES + length;
        let content = self.buffer.get(LENGTH_BYTES..end)?.to_vec();
        self.buffer.drain(..end);
        Some(Ok(content))
    }
}

/// Writes one frame.
#[derive(Debug)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn new() -> Self {
        Self(vec![0; LENGTH_BYTES])
    }

    pub(crate) fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub(crate) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(crate) fn i32(self, value: i32) -> Self {
        self.u32(value.cast_unsigned())
    }

    /// Whole milliseconds, rounded up, so that no time is given away.
    pub(crate) fn duration(mut self, value: Duration) -> Self {
        let milliseconds = u64::try_from(value.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.0.extend_from_slice(&milliseconds.to_le_bytes());
        self
    }

    pub(crate) fn count(self, value: usize) -> Self {
        self.u32(u32::try_from(value).unwrap_or(u32::MAX))
    }

    pub(crate) fn bytes(self, value: &[u8]) -> Self {
        let mut this = self.count(value.len());
        this.0.extend_from_slice(value);
        this
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - LENGTH_BYTES).unwrap_or(u32::MAX);
        self.0[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// Reads the fields of one frame's content.
#[derive(Debug)]
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn new(content: &'a [u8]) -> Self {
        Self(content)
    }

    /// A file that holds exactly one frame.
    pub(crate) fn of_whole_frame(bytes: &'a [u8]) -> Result<Self, ProtocolError> {
        let mut this = Self(bytes);
        let length = this.count()?;
        if length == this.0.len() { Ok(this) } else { Err(ProtocolError::Length) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(ProtocolError::Length)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ProtocolError> {
        Ok(u8::from_le_bytes(self.take()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ProtocolError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, ProtocolError> {
        Ok(i32::from_le_bytes(self.take()?))
    }

    pub(crate) fn duration(&mut self) -> Result<Duration, ProtocolError> {
        Ok(Duration::from_millis(u64::from_le_bytes(self.take()?)))
    }

    pub(crate) fn count(&mut self) -> Result<usize, ProtocolError> {
        usize::try_from(self.u32()?).map_err(|_| ProtocolError::Length)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], ProtocolError> {
        let length = self.count()?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(ProtocolError::Length)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn text(&mut self) -> Result<String, ProtocolError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| ProtocolError::Value("text"))
    }

    /// `count` fields; each takes at least a byte, so a lying count cannot reserve memory.
    pub(crate) fn list<T>(
        &mut self,
        one: impl Fn(&mut Self) -> Result<T, ProtocolError>,
    ) -> Result<Vec<T>, ProtocolError> {
        let count = self.count()?;
        if count > self.0.len() {
            return Err(ProtocolError::Length);
        }
        (0..count).map(|_| one(self)).collect()
    }

    pub(crate) fn finish(self) -> Result<(), ProtocolError> {
        if self.0.is_empty() { Ok(()) } else { Err(ProtocolError::Length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_however_they_arrive() {
        let stream =
            [Encoder::new().bytes(b"one").finish(), Encoder::new().finish(), Encoder::new().u8(7).finish()].concat();
        for size in 1..=stream.len() {
            let mut reader = FrameReader::new(16);
            let mut frames = Vec::new();
            for piece in stream.chunks(size) {
                reader.push(piece);
                while let Some(frame) = reader.next() {
                    frames.push(frame.unwrap());
                }
            }
            assert_eq!(frames, [b"\x03\0\0\0one".to_vec(), vec![], vec![7]], "in pieces of {size}");
        }
    }

    #[test]
    fn a_frame_beyond_the_limit_ends_the_stream() {
        let mut reader = FrameReader::new(4);
        reader.push(&Encoder::new().bytes(b"x").finish());
        assert_eq!(reader.next(), Some(Err(ProtocolError::TooLarge { bytes: 5, max: 4 })));
        reader.push(&Encoder::new().u8(1).finish());
        assert_eq!(reader.next(), None);
        assert!(reader.buffer.is_empty());
    }

    #[test]
    fn fields_are_bounded_by_their_frame() {
        assert_eq!(Decoder::new(&[9, 0, 0, 0, 1]).bytes(), Err(ProtocolError::Length));
        assert_eq!(Decoder::new(&[255; 4]).list(Decoder::u8), Err(ProtocolError::Length));
        assert_eq!(Decoder::new(&[1, 0, 0, 0, 0xff]).text(), Err(ProtocolError::Value("text")));
        assert_eq!(Decoder::new(&[1]).finish(), Err(ProtocolError::Length));
        assert!(Decoder::of_whole_frame(&[2, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn durations_round_up_and_saturate() {
        for (given, milliseconds) in [(Duration::from_micros(1), 1), (Duration::from_secs(30), 30_000)] {
            let bytes = Encoder::new().duration(given).finish();
            let read = Decoder::new(&bytes[LENGTH_BYTES..]).duration().unwrap();
            assert_eq!(read, Duration::from_millis(milliseconds));
        }
        let bytes = Encoder::new().duration(Duration::MAX).finish();
        assert_eq!(Decoder::new(&bytes[LENGTH_BYTES..]).duration().unwrap(), Duration::from_millis(u64::MAX));
    }
}
