//! The body of the request.

use tambat_model::ErrorCode;

use super::super::body::{ChunkDecoder, ChunkError, Length, Piece, write_chunk, write_last_chunk};
use super::outcome::BODY_TOO_BIG;
use super::{Exchange, Fault, RequestHalf, Taken};

impl Exchange {
    pub(super) fn length_from_client(&mut self, mut length: Length, input: &[u8]) -> Result<Taken, Fault> {
        if length.left() > self.body_bytes_left {
            return Err(Fault::by_client(ErrorCode::BodyTooBig, BODY_TOO_BIG));
        }
        let used = length.take(input.len());
        self.body_begun |= used > 0;
        self.request = if length.left() == 0 { RequestHalf::Done } else { RequestHalf::Length(length) };
        Ok(Taken { used, raw: 0..used })
    }

    pub(super) fn chunks_from_client(
        &mut self,
        mut decoder: ChunkDecoder,
        input: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Taken, Fault> {
        let mut used = 0;
        let request = loop {
            let rest = &input[used..];
            let decoded = decoder.decode(rest).map_err(chunk_fault_of_client)?;
            used += decoded.used;
            match decoded.piece {
                Piece::Nothing => break RequestHalf::Chunked(decoder),
                Piece::Data(data) => {
                    let bytes = data.len() as u64;
                    let left = self.body_bytes_left.checked_sub(bytes);
                    self.body_bytes_left = left.ok_or_else(|| Fault::by_client(ErrorCode::BodyTooBig, BODY_TOO_BIG))?;
                    write_chunk(&rest[data], out);
                }
                Piece::End(trailers) => {
                    write_last_chunk(&rest[trailers], out);
                    break RequestHalf::Done;
                }
            }
        };
        self.body_begun |= used > 0;
        self.request = request;
        Ok(Taken { used, raw: used..used })
    }
}

fn chunk_fault_of_client(error: ChunkError) -> Fault {
    let code = match error {
        ChunkError::TrailersTooLong => ErrorCode::HeadTooBig,
        ChunkError::Size
        | ChunkError::Extension
        | ChunkError::ExtensionTooLong
        | ChunkError::DataEnd
        | ChunkError::Trailer => ErrorCode::BadRequest,
    };
    Fault::by_client(code, error.cause())
}
