//! The heads and the body of the response.

use tambat_model::ErrorCode;

use super::super::body::{ChunkDecoder, Length, Piece, write_chunk, write_last_chunk};
use super::super::facts::{Head, Version};
use super::super::limits::{FieldSlots, head_may_be_whole};
use super::super::response::{
    ResponseFraming, ResponseHead, ResponseRules, SentConnection, SentFraming, response_head,
};
use super::{Exchange, Fault, RequestHalf, ResponseBody, ResponseHalf, Taken, Written};

/// How many interim responses one request may get: an honest app sends a 100 and some 103, a `102` once in a while.
pub(super) const INTERIMS_MAX: u8 = 16;

impl Exchange {
    pub(super) fn target_bytes(
        &mut self,
        input: &[u8],
        rules: &ResponseRules<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Taken, Fault> {
        let mut head = 0;
        while let ResponseHalf::Head { interims, seen } = self.response {
            let bytes = self.head_from_target(interims, seen, &input[head..], rules, out)?;
            if bytes == 0 {
                return Ok(Taken { used: head, raw: head..head });
            }
            head += bytes;
        }
        let body = self.body_from_target(&input[head..], out)?;
        let used = head + body.used;
        if used < input.len() && self.response == ResponseHalf::Done {
            // Nobody asked for these bytes: what else the target might say here cannot be trusted.
            self.target_stays = false;
        }
        Ok(Taken { used, raw: head + body.raw.start..head + body.raw.end })
    }

    /// How many bytes the head takes; 0: it is not whole.
    fn head_from_target(
        &mut self,
        interims: u8,
        seen: usize,
        input: &[u8],
        rules: &ResponseRules<'_>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        if !head_may_be_whole(input, seen.min(input.len()), rules.limits) {
            self.response = ResponseHalf::Head { interims, seen: input.len() };
            return Ok(0);
        }
        match response_head(input, &mut FieldSlots::new(), rules.limits) {
            Head::Incomplete => {
                self.response = ResponseHalf::Head { interims, seen: input.len() };
                Ok(0)
            }
            Head::Refused(refusal) => Err(Fault::by_target(refusal.code, refusal.cause)),
            Head::Found(head) if head.is_interim() => self.interim(interims, &head, rules, out).map(|()| head.len()),
            Head::Found(head) if head.status() == 101 => self.switch(&head, rules, out).map(|()| head.len()),
            Head::Found(head) => {
                self.begin_response(&head, rules, out);
                Ok(head.len())
            }
        }
    }

    /// 1xx are passed on, but none to HTTP/1.0, and a 100 only to who waits for it (RFC 9110 §15.2).
    fn interim(
        &mut self,
        interims: u8,
        head: &ResponseHead<'_, '_>,
        rules: &ResponseRules<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        if interims >= INTERIMS_MAX {
            return Err(Fault::by_target(ErrorCode::BadResponse, "the target sends more than 16 interim answers"));
        }
        let is_continue = head.status() == 100;
        if self.facts.version == Version::Http11 && (!is_continue || self.continue_due) {
            head.write(SentFraming::Nothing, SentConnection::Nothing, rules, out);
        }
        self.continue_due &= !is_continue;
        self.response = ResponseHalf::Head { interims: interims + 1, seen: 0 };
        Ok(())
    }

    /// 101, to who asked for it (RFC 9110 §7.8).
    fn switch(
        &mut self,
        head: &ResponseHead<'_, '_>,
        rules: &ResponseRules<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let cause = if !self.facts.upgrade {
            "the target switches protocols, which nobody asked for"
        } else if !head.has_upgrade() || head.version() != Version::Http11 {
            "the target switches protocols without saying to which"
        } else {
            head.write(SentFraming::Nothing, SentConnection::Upgrade, rules, out);
            self.status = head.status();
            self.abandon_request();
            let mut upgrades = head.fields().filter(|(name, _)| name.eq_ignore_ascii_case("upgrade"));
            let is_websocket = upgrades.next().is_some_and(|(_, value)| value.eq_ignore_ascii_case(b"websocket"))
                && upgrades.next().is_none();
            self.response = ResponseHalf::Tunnel { is_websocket };
            return Ok(());
        };
        Err(Fault::by_target(ErrorCode::BadResponse, cause))
    }

    fn begin_response(&mut self, head: &ResponseHead<'_, '_>, rules: &ResponseRules<'_>, out: &mut Vec<u8>) {
        let framing = head.framing(self.facts.method);
        let (body, sent) = self.response_body(framing, head.length_said());
        // To HTTP/1.0, a body of unknown length ends with the connection.
        let is_delimited = self.facts.version == Version::Http11 || sent != SentFraming::Nothing || body.is_none();
        // It is over here and now, or the client would have to be asked for a body that nobody wants.
        let is_early = self.wants_client() && (body.is_none() || self.client_waits_for_continue());
        self.target_stays &= head.keeps_connection();
        self.client_stays &=
            rules.keep_alive_allowed && is_delimited && !is_early && self.request != RequestHalf::Abandoned;
        let connection = match (self.client_stays, self.facts.version) {
            (false, _) => SentConnection::Close,
            (true, Version::Http10) => SentConnection::KeepAlive,
            (true, Version::Http11) => SentConnection::Nothing,
        };
        head.write(sent, connection, rules, out);
        self.status = head.status();
        match body {
            Some(body) => self.response = ResponseHalf::Body(body),
            None => self.finish(),
        }
    }

    /// What is to come, and what is said of it to the client.
    fn response_body(&self, framing: ResponseFraming, said: SentFraming) -> (Option<ResponseBody>, SentFraming) {
        let (written, sent) = match self.facts.version {
            Version::Http11 => (Written::Chunked, SentFraming::Chunked),
            Version::Http10 => (Written::Bare, SentFraming::Nothing),
        };
        match framing {
            ResponseFraming::None => (None, said),
            ResponseFraming::Length(0) => (None, SentFraming::Length(0)),
            ResponseFraming::Length(bytes) => {
                (Some(ResponseBody::Length(Length::new(bytes))), SentFraming::Length(bytes))
            }
            ResponseFraming::Chunked => (Some(ResponseBody::Chunked(ChunkDecoder::default(), written)), sent),
            ResponseFraming::UntilClose => (Some(ResponseBody::UntilClose(written)), sent),
        }
    }

    fn body_from_target(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Taken, Fault> {
        match &mut self.response {
            ResponseHalf::Broken(fault) => Err(*fault),
            ResponseHalf::Head { .. } | ResponseHalf::Done | ResponseHalf::Tunnel { .. } => Ok(Taken::default()),
            ResponseHalf::Body(ResponseBody::Length(length)) => {
                let used = length.take(input.len());
                if length.left() == 0 {
                    self.finish();
                }
                Ok(Taken { used, raw: 0..used })
            }
            ResponseHalf::Body(ResponseBody::Chunked(decoder, written)) => {
                let (used, is_over) = chunks_from_target(decoder, *written, input, out)?;
                if is_over {
                    self.finish();
                }
                Ok(Taken { used, raw: used..used })
            }
            ResponseHalf::Body(ResponseBody::UntilClose(Written::Chunked)) => {
                write_chunk(input, out);
                Ok(Taken { used: input.len(), raw: 0..0 })
            }
            ResponseHalf::Body(ResponseBody::UntilClose(Written::Bare)) => {
                Ok(Taken { used: input.len(), raw: 0..input.len() })
            }
        }
    }
}

/// How many bytes were used, and whether the body is over.
fn chunks_from_target(
    decoder: &mut ChunkDecoder,
    written: Written,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<(usize, bool), Fault> {
    let mut used = 0;
    loop {
        let rest = &input[used..];
        let decoded = decoder.decode(rest).map_err(|error| Fault::by_target(ErrorCode::BadResponse, error.cause()))?;
        used += decoded.used;
        match (decoded.piece, written) {
            (Piece::Nothing, _) => return Ok((used, false)),
            (Piece::Data(data), Written::Chunked) => write_chunk(&rest[data], out),
            (Piece::Data(data), Written::Bare) => out.extend_from_slice(&rest[data]),
            (Piece::End(trailers), Written::Chunked) => {
                write_last_chunk(&rest[trailers], out);
                return Ok((used, true));
            }
            (Piece::End(_), Written::Bare) => return Ok((used, true)),
        }
    }
}
