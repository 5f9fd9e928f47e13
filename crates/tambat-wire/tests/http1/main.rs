//! The HTTP/1 engine against bytes that nobody would send who means well: the seeds of its fuzz targets, and what
//! readers make of what it writes that share nothing with it.

#[cfg(test)]
#[path = "../../../../fuzz/http1/mod.rs"]
mod http1;
#[cfg(test)]
#[path = "../../../../fuzz/http2.rs"]
mod http2;

#[cfg(test)]
mod bridge;
#[cfg(test)]
mod generate;
#[cfg(test)]
mod hyper;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod python;
#[cfg(test)]
mod seeds;
