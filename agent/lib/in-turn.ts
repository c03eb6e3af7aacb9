/** Work that is done one after the other, whoever asks for it. */
export class InTurn {
  private last: Promise<unknown> = Promise.resolve()

  /** Resolves as the work does, or raises what it raises. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.last.then(work)
    this.last = turn.catch(() => undefined)
    return turn
  }
}
