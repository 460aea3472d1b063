// The tool of these tests: they run through the compiler and nothing else.

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? [] : ['the types differ']

/** `same<A>()(value)` compiles where the value is of this very type. */
export const same =
  <A>() =>
  <B>(_value: B, ..._differ: Same<A, B>): void => {}
