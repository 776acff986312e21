// Bytes to look at: as text with everything invisible made visible, and as a hex dump.
//
// Pure. Both give plain text; whoever shows it sets it as text, never as markup.

const WIDTH = 16;

/** The bytes of base64 text; empty if it is none. */
export function fromBase64(encoded) {
  try {
    const binary = atob(encoded ?? '');
    return Uint8Array.from(binary, (char) => char.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** Lines of `offset  16 bytes  |characters|`. */
export function dump(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += WIDTH) {
    const row = [...bytes.subarray(at, at + WIDTH)];
    const hex = row.map((byte) => byte.toString(16).padStart(2, '0'));
    const left = hex.slice(0, 8).join(' ').padEnd(23);
    const right = hex.slice(8).join(' ').padEnd(23);
    const characters = row.map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${left}  ${right}  |${characters}|`);
  }
  return lines.join('\n');
}

/**
 * Text as it can be read: control characters as `\x00`, what is no UTF-8 as U+FFFD, and marks that nobody
 * sees or that would turn the direction of the text around as `\u202e`.
 */
export function visible(bytes) {
  const decoded = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes);
  return decoded.replace(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (char) => {
    const code = char.codePointAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}
