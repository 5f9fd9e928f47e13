//! The router over real sockets, on ports of the kernel's choice.

#[cfg(test)]
mod balance;
#[cfg(test)]
mod datagrams;
#[cfg(test)]
mod http;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod http2_answers;
#[cfg(test)]
mod life;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod named;
#[cfg(test)]
mod refusal;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod waiting;
