// What `npm run lint` checks: the strict rules of typescript-eslint with types, and ESLint's own rules for JavaScript. A rule that is off
// or relaxed has its reason above it.

import js from '@eslint/js'
import { defineConfig } from 'eslint/config'
import ts from 'typescript-eslint'

export default defineConfig(
  { ignores: ['**/node_modules', '**/target', 'dist', 'docs', 'benches/results', 'native.js', '*.d.ts'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  ts.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { project: 'tsconfig.check.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers and booleans print as what they are.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // As tsc has it: a name that begins with an underscore is not used.
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // A statement may choose between two calls.
      '@typescript-eslint/no-unused-expressions': ['error', { allowTernary: true }],
      // The executor of a promise is one function for all, which finds in this variable what the promise belongs to.
      '@typescript-eslint/no-this-alias': ['error', { allowedNames: ['target'] }],
      // What a signal, a codec or a caller's callback throws is passed on as it is.
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/prefer-promise-reject-errors': ['error', { allowThrowingUnknown: true }],
      // `() => close()` is the plainest callback.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // `#settled<void>(…)` names what a promise resolves to, and the rule rejects it in a call.
      '@typescript-eslint/no-invalid-void-type': 'off',
      // Types do not bind callers in JavaScript, and a field that an `await` or a callback changes looks constant to this rule.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // An async function without `await` satisfies an interface of promises, and rejects instead of throwing.
      '@typescript-eslint/require-await': 'off',
      // Functions are compared, and taken as the start of a stack trace; those of the platform are taken before a test replaces them.
      '@typescript-eslint/unbound-method': 'off',
      // `void` also marks a call whose result does not matter.
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      // A type parameter that is used once still names what the caller chooses.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
    },
  },
  {
    files: ['__test__/**', 'benches/**'],
    rules: {
      // An index or a key that the test or the loop has made itself.
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    files: ['__test__/**'],
    rules: {
      // `Wal.open<unknown>` says that the log takes more than its codec would infer.
      '@typescript-eslint/no-unnecessary-type-arguments': 'off',
      // Specs pass values of wrong types on purpose, and read what a child process printed as JSON.
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/use-unknown-in-catch-callback-variable': 'off',
      // Keys and values are printed by their `toString`, and so is whatever a failed test was given.
      '@typescript-eslint/restrict-template-expressions': 'off',
      '@typescript-eslint/no-base-to-string': 'off',
    },
  },
  {
    // Scripts and examples have no types. They use what Node.js has, and no other global.
    files: ['**/*.{js,mjs,cjs}'],
    extends: [ts.configs.disableTypeChecked],
    languageOptions: { globals: Object.fromEntries(Object.getOwnPropertyNames(globalThis).map((name) => [name, 'readonly'])) },
  }
)
