// @ts-check
// What a live fragment says of itself (ISO/IEC 14496-12). Pure.

const MOOF = 0x6d6f6f66, TRAF = 0x74726166, TFHD = 0x74666864, VIDEO = 1;
const DEFAULT_FLAGS = 0x20, OPTIONAL = [[0x1, 8], [0x2, 4], [0x8, 4], [0x10, 4]], NO_SYNC_SAMPLE = 0x10000;

/** @param {DataView} view @param {number} type @param {number} from @param {number} end @returns {{from: number, end: number} | null} */
function box(view, type, from, end) {
  for (let at = from; at + 8 <= end;) {
    const size = view.getUint32(at);
    if (size < 8 || at + size > end) return null;
    if (view.getUint32(at + 4) === type) return { from: at + 8, end: at + size };
    at += size;
  }
  return null;
}

/** Whether a picture that needs none before it is in here: a live fragment has one unit, and says it of all that it has.
 * @param {ArrayBuffer} data */
export function opensGroup(data) {
  const view = new DataView(data);
  const moof = box(view, MOOF, 0, data.byteLength), traf = moof && box(view, TRAF, moof.from, moof.end);
  const tfhd = traf && box(view, TFHD, traf.from, traf.end);
  if (!tfhd || view.getUint32(tfhd.from + 4) !== VIDEO) return false;
  const has = view.getUint32(tfhd.from);
  const flags = OPTIONAL.reduce((at, [flag, size]) => at + (has & flag ? size : 0), tfhd.from + 8);
  return Boolean(has & DEFAULT_FLAGS) && flags + 4 <= tfhd.end && !(view.getUint32(flags) & NO_SYNC_SAMPLE);
}
