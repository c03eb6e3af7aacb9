/** When rounds may run: stretches of local time, as `22:00-06:00` or `mon-fri 22:00-06:00`. */

export interface Window {
  /** Days on which it begins, 0 is Sunday. */
  days: ReadonlySet<number>
  /** Minutes since midnight; it ends on the next day where it ends no later than it begins. */
  begins: number
  ends: number
}

const names = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']
const form = /^(?:([a-z,-]+) )?([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)$/i

/** Null for what is no window. */
export function windowOf(text: string): Window | null {
  const [match, days, fromHour, fromMinute, toHour, toMinute] = form.exec(text.trim()) ?? []
  if (match === undefined) return null
  const begun = days === undefined ? names.map((_, day) => day) : daysOf(days.toLowerCase())
  const window = {
    begins: Number(fromHour) * 60 + Number(fromMinute),
    ends: toHour === undefined ? 24 * 60 : Number(toHour) * 60 + Number(toMinute),
  }
  return begun && window.begins !== window.ends ? { days: new Set(begun), ...window } : null
}

/** Whether rounds may run; always, where there are no windows. By the clock on the wall, whatever a change of time does to the night. */
export function isOpen(windows: readonly Window[], at: Date): boolean {
  const minute = at.getHours() * 60 + at.getMinutes()
  const today = at.getDay()
  const yesterday = (today + 6) % 7
  return windows.length === 0 || windows.some(({ days, begins, ends }) => (begins < ends
    ? days.has(today) && begins <= minute && minute < ends
    : (days.has(today) && begins <= minute) || (days.has(yesterday) && minute < ends)))
}

/** `mon-fri,sun` → 1 to 5 and 0; a range may go over Saturday. Null: a name that is no day. */
function daysOf(text: string): number[] | null {
  const ranges = text.split(',').map(range => range.split('-').map(name => names.indexOf(name)))
  if (ranges.some(range => range.length > 2 || range.includes(-1))) return null
  return ranges.flatMap(([from = 0, to = from]) => Array.from({ length: ((to - from + 7) % 7) + 1 }, (_, step) => (from + step) % 7))
}
