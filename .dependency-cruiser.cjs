/** One-way imports (design: data flows in one direction). Type-only imports are free unless a rule says otherwise. */
const stages = ['camera', 'frames', 'classifier', 'drift', 'rounds', 'registry', 'report']

module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    { name: 'trainer-knows-no-agent', severity: 'error', from: { path: '^trainer/' }, to: { path: '^agent/' } },
    {
      name: 'one-door-to-the-trainer', severity: 'error', from: { path: '^agent/' },
      to: { path: '^trainer/', pathNot: '^trainer/(index|contract)\\.ts$' },
    },
    ...stages.map(stage => ({
      name: `${stage}-imports-types-of-other-stages-only`, severity: 'error',
      from: { path: `^agent/${stage}/` },
      to: { path: `^agent/(${stages.filter(other => other !== stage).join('|')})/`, dependencyTypesNot: ['type-only'] },
    })),
    {
      name: 'only-the-composition-root-connects', severity: 'error', from: { path: `^agent/(${stages.join('|')})/` },
      to: { path: '^agent/(app|main|demo|commands/)' },
    },
    { name: 'lib-knows-no-domain', severity: 'error', from: { path: '^agent/lib/' }, to: { path: '^agent/(?!lib/|errors)', dependencyTypesNot: ['type-only'] } },
    { name: 'tfjs-in-the-trainer', severity: 'error', from: { pathNot: '^(trainer|test)/' }, to: { path: '@tensorflow/' } },
    { name: 'mqtt-in-report', severity: 'error', from: { pathNot: '^(agent/report|test)/' }, to: { path: 'node_modules/(mqtt|aedes)/', dependencyTypesNot: ['type-only'] } },
    { name: 'onnxruntime-where-it-belongs', severity: 'error', from: { pathNot: '^trainer/backend/onnxruntime[.]ts$' }, to: { path: 'onnxruntime-node' } },
    {
      name: 'the-page-runs-in-a-browser', severity: 'error', from: { path: '^agent/dashboard/(page|evidence)/' },
      to: { path: '^(agent|trainer)/', pathNot: '^agent/(dashboard/(page|evidence|format)|web/limits|figures)', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'the-page-of-a-fleet-runs-in-a-browser', severity: 'error', from: { path: '^agent/fleet/page/' },
      to: { path: '^(agent|trainer)/', pathNot: '^agent/(dashboard/(page|evidence|format)|fleet/(page/|row|words))', dependencyTypesNot: ['type-only'] },
    },
    { name: 'nothing-unresolved', severity: 'error', from: {}, to: { couldNotResolve: true, pathNot: 'tfjs-node-gpu' } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default', 'types'] },
  },
}
