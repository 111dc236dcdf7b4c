//! Files of frames, made right again or put together: the format is in host/frame.

use crate::input::Input;
use crc32fast::Hasher;
use portcall::abi;

/// Bytes of a header, and of what comes before a frame's content.
pub(crate) const HEADER: usize = 16;
pub(crate) const FRAME_HEAD: usize = 12;

/// A header that is read on.
pub(crate) fn header_of(magic: &[u8; 8], version: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(magic);
    header[8..12].copy_from_slice(&version.to_le_bytes());
    header[12..].copy_from_slice(&abi::VERSION.to_le_bytes());
    header
}

/// The same file with this header and checksums that are right, as far as its lengths lead.
pub(crate) fn mended(data: &[u8], header: &[u8; HEADER]) -> Vec<u8> {
    let mut file = data.to_vec();
    let Some(start) = file.get_mut(..HEADER) else { return file };
    start.copy_from_slice(header);
    let mut sum = Hasher::new();
    sum.update(start);
    let mut at = HEADER;
    while let Some(head) = file.get_mut(at..at + FRAME_HEAD) {
        sum.update(&head[..4]);
        head[4..8].copy_from_slice(&sum.clone().finalize().to_le_bytes());
        let size = Input(head).u32() as usize;
        let content = at + FRAME_HEAD;
        let Some(bytes) = file.get(content..).and_then(|rest| rest.get(..size)) else { break };
        sum.update(bytes);
        file[at + 8..content].copy_from_slice(&sum.clone().finalize().to_le_bytes());
        at = content + size;
    }
    file
}

/// A file of the frames that stand in the input, one after the other, each with its size before it
/// in two bytes.
pub(crate) fn framed(mut input: Input<'_>, header: &[u8; HEADER]) -> Vec<u8> {
    let mut file = header.to_vec();
    let mut sum = Hasher::new();
    sum.update(&file);
    while !input.is_empty() {
        let size = usize::from(input.u16());
        let content = input.take(size);
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
        file.extend_from_slice(&size);
        sum.update(&size);
        file.extend_from_slice(&sum.clone().finalize().to_le_bytes());
        sum.update(content);
        file.extend_from_slice(&sum.clone().finalize().to_le_bytes());
        file.extend_from_slice(content);
    }
    file
}
