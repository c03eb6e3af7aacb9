/** The newest lines that the agent has told, as a terminal would show them. */

export interface JournalLine {
  /** Counts up. */
  at: number
  /** Milliseconds since 1970. */
  atMs: number
  text: string
}

const mostLines = 500

export class Journal {
  private readonly nowMs: () => number
  private lines: JournalLine[] = []
  private told = 0

  constructor({ nowMs }: { nowMs: () => number }) {
    this.nowMs = nowMs
  }

  /** Takes in one line, as a stream does. */
  write(line: string): void {
    this.lines = [...this.lines, { at: ++this.told, atMs: this.nowMs(), text: line.trimEnd() }].slice(-mostLines)
  }

  /** Those after a line, the oldest first; all of them where that line is of an agent before this one. */
  after(at: number): readonly JournalLine[] {
    return at > this.told ? this.lines : this.lines.filter(line => line.at > at)
  }
}
