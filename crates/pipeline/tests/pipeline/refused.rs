//! Mistakes, and what is said about them: the whole text that a person sees.

use std::fmt::Write as _;

use keyferry_pipeline::Definition;
use keyferry_pipeline::diagnostic::{code, render_all};

/// Returns what is said about a text that must be refused. No test's password may be in it.
fn refused(text: &str) -> String {
    let diagnostics = Definition::parse(text).unwrap_err();
    assert!(!diagnostics.is_empty());
    let shown = render_all(&diagnostics, "p.yaml");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(!format!("{diagnostics:?}").contains("hunter2"));
    shown
}

#[test]
fn text_that_is_not_yaml_is_explained() {
    let text = r"stages:
  build: [1, 2
";
    insta::assert_snapshot!(refused(text), @r"
    error[yaml_syntax]: cannot read the text as YAML: unclosed bracket '['
     --> p.yaml:2:10
    2 |   build: [1, 2
      |          ^
    ");
}

#[test]
fn an_empty_text_is_explained() {
    let text = r"";
    insta::assert_snapshot!(refused(text), @r"
    error[missing_key]: `stages` is missing: a pipeline has at least one stage
     --> p.yaml:1:1
    ");
}

#[test]
fn a_list_instead_of_a_pipeline_is_explained() {
    let text = r"- a
- b
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_type]: expected a pipeline, a mapping, found a list
     --> p.yaml:1:1
    1 | - a
      | ^
    ");
}

#[test]
fn a_key_given_twice_is_explained() {
    let text = r"stages:
  build:
    jobs:
      compile:
        name: one
        name: two
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[duplicate_key]: `name` is given twice
     --> p.yaml:6:9 (stages.build.jobs.compile)
    6 |         name: two
      |         ^
    ");
}

#[test]
fn misspelt_keys_is_explained() {
    let text = r"souces: {}
variablse: []
stages:
  build:
    jobs:
      compile:
        timeoutMinute: 3
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[unknown_key]: `souces` is not a key of a pipeline
     --> p.yaml:1:1
    1 | souces: {}
      | ^
      = hint: did you mean `sources`?

    error[unknown_key]: `variablse` is not a key of a pipeline
     --> p.yaml:2:1
    2 | variablse: []
      | ^
      = hint: did you mean `variables`, `variableGroups`?

    error[unknown_key]: `timeoutMinute` is not a key of a job
     --> p.yaml:7:9 (stages.build.jobs.compile)
    7 |         timeoutMinute: 3
      |         ^
      = hint: did you mean `timeoutMinutes`?
    ");
}

#[test]
fn an_unknown_key_without_a_near_one_is_explained() {
    let text = r"sources:
  app:
    type: git
    endpoint: https://git.example.com/team/app.git
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: DeleteBranch, with: {branch: x, zzz: 1}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[unknown_key]: `zzz` is not a key of `with` of `DeleteBranch`
      --> p.yaml:10:53 (stages.build.jobs.compile.steps.a.with)
    10 |           a: {step: DeleteBranch, with: {branch: x, zzz: 1}}
       |                                                     ^
       = hint: `with` of `DeleteBranch` takes `source`, `branch`, `expectedCommit`
    ");
}

#[test]
fn features_that_are_not_run_yet_is_explained() {
    let text = r"variableGroups: [a]
cache: {cacheDirs: [/x]}
stages:
  build:
    jobs:
      compile:
        runsOn: {group: public/cn-beijing, container: build-steps/alinux3, labels: 'linux,amd64'}
        plugins: [{plugin: EmailPlugin}]
        driven: manual
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[known_not_run]: `variableGroups` of a pipeline is known in Flow, not run yet
     --> p.yaml:1:1 (variableGroups)
    1 | variableGroups: [a]
      | ^
      = hint: write the values under `variables`; secrets belong into a connection of type `generic`

    error[known_not_run]: `cache` of a pipeline is known in Flow, not run yet
     --> p.yaml:2:1 (cache)
    2 | cache: {cacheDirs: [/x]}
      | ^
      = hint: remove it; jobs start with an empty folder

    error[known_not_run]: `container` of `runsOn` is known in Flow, not run yet
     --> p.yaml:7:44 (stages.build.jobs.compile.runsOn.container)
    7 |         runsOn: {group: public/cn-beijing, container: build-steps/alinux3, labels: 'linux,amd64'}
      |                                            ^
      = hint: the job runs on the machine of its runner: remove it, and install what the job needs there

    error[known_not_run]: `labels` of `runsOn` is known in Flow, not run yet
     --> p.yaml:7:76 (stages.build.jobs.compile.runsOn.labels)
    7 |         runsOn: {group: public/cn-beijing, container: build-steps/alinux3, labels: 'linux,amd64'}
      |                                                                            ^
      = hint: remove it; any runner takes the job

    error[known_not_run]: `plugins` of a job is known in Flow, not run yet
     --> p.yaml:8:9 (stages.build.jobs.compile.plugins)
    8 |         plugins: [{plugin: EmailPlugin}]
      |         ^

    error[known_not_run]: a job that waits for a person (`driven: manual`) is known in Flow, not run yet
     --> p.yaml:9:17 (stages.build.jobs.compile.driven)
    9 |         driven: manual
      |                 ^
    ");
}

#[test]
fn a_trigger_is_explained() {
    let text = r"sources:
  app:
    type: git
    endpoint: https://git.example.com/team/app.git
    triggerEvents: push
    branchesFilter: main
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[known_not_run]: `triggerEvents` of a source is known in Flow, not run yet
     --> p.yaml:5:5 (sources.app.triggerEvents)
    5 |     triggerEvents: push
      |     ^
      = hint: no push starts a run yet: remove it, and start runs by the API or the command line; filters may stay
    ");
}

#[test]
fn a_component_instead_of_steps_is_explained() {
    let text = r"stages:
  deploy:
    jobs:
      vm:
        component: VMDeploy
        with: {machineGroup: x}
";
    insta::assert_snapshot!(refused(text), @r"
    error[known_not_run]: `component` of a job is known in Flow, not run yet
     --> p.yaml:5:9 (stages.deploy.jobs.vm.component)
    5 |         component: VMDeploy
      |         ^
      = hint: write `steps` instead

    error[known_not_run]: `with` of a job is known in Flow, not run yet
     --> p.yaml:6:9 (stages.deploy.jobs.vm.with)
    6 |         with: {machineGroup: x}
      |         ^
    ");
}

#[test]
fn steps_that_are_not_run_yet_and_steps_that_do_not_exist_is_explained() {
    let text = r"stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: PrivateRegistryDockerBuild}
          b: {step: Comand}
          c: {step: kubectlapply}
          d: {with: {}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[known_not_run]: the step `PrivateRegistryDockerBuild` is known in Flow, not run yet
     --> p.yaml:6:21 (stages.build.jobs.compile.steps.a.step)
    6 |           a: {step: PrivateRegistryDockerBuild}
      |                     ^
      = hint: steps that run today: `Command`, `MergeBranch`, `DeleteBranch`, `AddGitTag`, `DockerLogin`

    error[unknown_step]: there is no step `Comand`
     --> p.yaml:7:21 (stages.build.jobs.compile.steps.b.step)
    7 |           b: {step: Comand}
      |                     ^
      = hint: did you mean `Command`?

    error[known_not_run]: the step `KubectlApply` is known in Flow, not run yet
     --> p.yaml:8:21 (stages.build.jobs.compile.steps.c.step)
    8 |           c: {step: kubectlapply}
      |                     ^
      = hint: steps that run today: `Command`, `MergeBranch`, `DeleteBranch`, `AddGitTag`, `DockerLogin`

    error[missing_key]: `step` is missing
     --> p.yaml:9:14 (stages.build.jobs.compile.steps.d)
    9 |           d: {with: {}}
      |              ^
    ");
}

#[test]
fn source_types_is_explained() {
    let text = r"sources:
  a: {type: packages, repo: x, artifact: y}
  b: {type: gitt, endpoint: 'https://h/x'}
  c: {endpoint: 'https://h/x'}
defaultWorkspace: a
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[known_not_run]: the source type `packages` is known in Flow, not run yet
     --> p.yaml:2:13 (sources.a.type)
    2 |   a: {type: packages, repo: x, artifact: y}
      |             ^

    error[unknown_source_type]: `gitt` is not a source type
     --> p.yaml:3:13 (sources.b.type)
    3 |   b: {type: gitt, endpoint: 'https://h/x'}
      |             ^
      = hint: did you mean `git`, `gitea`, `gitee`?

    error[missing_key]: `type` is missing
     --> p.yaml:4:6 (sources.c)
    4 |   c: {endpoint: 'https://h/x'}
      |      ^
    ");
}

#[test]
fn wrong_types_is_explained() {
    let text = r"name: [a]
stages:
  build:
    jobs:
      compile:
        timeoutMinutes: soon
        needs: {a: b}
        runsOn: [x]
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_type]: expected a text, found a list
     --> p.yaml:1:7 (name)
    1 | name: [a]
      |       ^

    error[wrong_type]: expected a whole number from 1 to 10080, found `soon`
     --> p.yaml:6:25 (stages.build.jobs.compile.timeoutMinutes)
    6 |         timeoutMinutes: soon
      |                         ^

    error[wrong_type]: expected a list of texts, found a mapping
     --> p.yaml:7:16 (stages.build.jobs.compile.needs)
    7 |         needs: {a: b}
      |                ^

    error[wrong_type]: expected a text, found a list
     --> p.yaml:8:17 (stages.build.jobs.compile.runsOn)
    8 |         runsOn: [x]
      |                 ^
    ");
}

#[test]
fn missing_keys_is_explained() {
    let text = r"sources:
  app: {type: git}
stages:
  one: {}
  two:
    jobs:
      j: {}
      k: {steps: {a: {step: Command}}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[missing_key]: `endpoint` is missing
     --> p.yaml:2:8 (sources.app)
    2 |   app: {type: git}
      |        ^

    error[missing_key]: `jobs` is missing: a stage has at least one job
     --> p.yaml:4:8 (stages.one)
    4 |   one: {}
      |        ^

    error[missing_key]: `steps` is missing: a job has at least one step
     --> p.yaml:7:10 (stages.two.jobs.j)
    7 |       j: {}
      |          ^

    error[missing_key]: `run` is missing
     --> p.yaml:8:22 (stages.two.jobs.k.steps.a.with)
    8 |       k: {steps: {a: {step: Command}}}
      |                      ^
    ");
}

#[test]
fn several_sources_without_a_workspace_is_explained() {
    let text = r"sources:
  app:
    type: git
    endpoint: https://git.example.com/team/app.git
  lib:
    type: git
    endpoint: https://git.example.com/team/lib.git
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[missing_key]: `defaultWorkspace` is missing: with several sources it says which one jobs start in
     --> p.yaml:2:3
    2 |   app:
      |   ^
    ");
}

#[test]
fn references_to_nothing_is_explained() {
    let text = r"sources:
  app:
    type: git
    endpoint: https://git.example.com/team/app.git
defaultWorkspace: ap
stages:
  build:
    jobs:
      compile:
        needs: [compil, later]
        sourceOption: [apps]
        steps:
          a: {step: Command, workspace: lib, with: {run: x}}
          b: {step: DeleteBranch, with: {source: lib, branch: x}}
  late:
    jobs:
      later: {steps: {a: {step: Command, with: {run: x}}}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[unknown_reference]: there is no source `ap`
     --> p.yaml:5:19 (defaultWorkspace)
    5 | defaultWorkspace: ap
      |                   ^
      = hint: did you mean `app`?

    error[unknown_reference]: there is no job in this stage or an earlier one called `compil`
      --> p.yaml:10:17 (stages.build.jobs.compile.needs)
    10 |         needs: [compil, later]
       |                 ^
       = hint: did you mean `compile`?

    error[unknown_reference]: there is no job in this stage or an earlier one called `later`
      --> p.yaml:10:25 (stages.build.jobs.compile.needs)
    10 |         needs: [compil, later]
       |                         ^
       = hint: this file has `compile`

    error[unknown_reference]: there is no source `apps`
      --> p.yaml:11:24 (stages.build.jobs.compile.sourceOption)
    11 |         sourceOption: [apps]
       |                        ^
       = hint: did you mean `app`?

    error[unknown_reference]: there is no source that this job downloads called `lib`
      --> p.yaml:13:41 (stages.build.jobs.compile.steps.a.workspace)
    13 |           a: {step: Command, workspace: lib, with: {run: x}}
       |                                         ^
       = hint: this file has none

    error[unknown_reference]: there is no source `lib`
      --> p.yaml:14:50 (stages.build.jobs.compile.steps.b.with.source)
    14 |           b: {step: DeleteBranch, with: {source: lib, branch: x}}
       |                                                  ^
       = hint: this file has `app`
    ");
}

#[test]
fn jobs_that_wait_for_each_other_is_explained() {
    let text = r"stages:
  s:
    jobs:
      a: {needs: b, steps: {x: {step: Command, with: {run: x}}}}
      b: {needs: [c], steps: {x: {step: Command, with: {run: x}}}}
      c: {needs: [b], steps: {x: {step: Command, with: {run: x}}}}
      d: {needs: d, steps: {x: {step: Command, with: {run: x}}}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[cycle]: these jobs wait for each other: `s.b` → `s.c` → `s.b`
     --> p.yaml:5:7 (stages.s.jobs.b)
    5 |       b: {needs: [c], steps: {x: {step: Command, with: {run: x}}}}
      |       ^

    error[cycle]: these jobs wait for each other: `s.d` → `s.d`
     --> p.yaml:7:7 (stages.s.jobs.d)
    7 |       d: {needs: d, steps: {x: {step: Command, with: {run: x}}}}
      |       ^
    ");
}

#[test]
fn passwords_in_the_text_is_explained() {
    let text = r"sources:
  app:
    type: git
    endpoint: https://alice:hunter2@git.example.com/app.git
    certificate: {type: usernamePassword, username: alice, password: hunter2}
  two: {type: git, endpoint: 'https://hunter2@h/x', certificate: {username: a, password: hunter2}}
defaultWorkspace: app
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: DockerLogin, with: {dockerRepository: 'u:hunter2@h', serviceConnection: images}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[url_has_password]: the endpoint has a user name or password in it
     --> p.yaml:4:15 (sources.app.endpoint)
    4 |     endpoint: https://****@git.example.com/app.git
      |               ^
      = hint: remove it, put it into a credential, and name the connection in `certificate`

    error[known_not_run]: a user name and password in the text is known in Flow, not run yet
     --> p.yaml:5:25 (sources.app.certificate)
    5 |     certificate: {type: usernamePassword, username: alice, password: ****}
      |                         ^
      = hint: put user name and password into a credential, and write `serviceConnection: <ID>`

    error[url_has_password]: the endpoint has a user name or password in it
     --> p.yaml:6:30 (sources.two.endpoint)
    6 |   two: {type: git, endpoint: 'https://****@h/x', certificate: {username: a, password: ****}}
      |                              ^
      = hint: remove it, put it into a credential, and name the connection in `certificate`

    error[known_not_run]: a user name and password in the text is known in Flow, not run yet
     --> p.yaml:6:66 (sources.two.certificate)
    6 |   two: {type: git, endpoint: 'https://****@h/x', certificate: {username: a, password: ****}}
      |                                                               ^
      = hint: put user name and password into a credential, and write `serviceConnection: <ID>`

    error[wrong_value]: this is not a registry's host and port
      --> p.yaml:13:59 (stages.build.jobs.compile.steps.a.with.dockerRepository)
    13 |           a: {step: DockerLogin, with: {dockerRepository: '****@h', serviceConnection: images}}
       |                                                           ^
       = hint: write it like `registry.example.com:5000`
    ");
}

#[test]
fn addresses_that_are_not_git_is_explained() {
    let text = r"sources:
  a: {type: git, endpoint: /etc/passwd}
  b: {type: git, endpoint: 'file:///x'}
  c: {type: git, endpoint: 'https://h/${REPO}'}
  d: {type: git, endpoint: 'https://h/x?token=hunter2', branch: -x}
defaultWorkspace: a
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_value]: cannot read the address; write it like https://git.example.com/team/app.git
     --> p.yaml:2:28 (sources.a.endpoint)
    2 |   a: {type: git, endpoint: /etc/passwd}
      |                            ^

    error[wrong_value]: cannot take this kind of address; it must start with one of: https://, http://, ssh://
     --> p.yaml:3:28 (sources.b.endpoint)
    3 |   b: {type: git, endpoint: 'file:///x'}
      |                            ^

    error[wrong_value]: an endpoint must be literal; variables are not replaced here
     --> p.yaml:4:28 (sources.c.endpoint)
    4 |   c: {type: git, endpoint: 'https://h/${REPO}'}
      |                            ^

    error[wrong_value]: cannot take an address with `?` or `#` in it
     --> p.yaml:5:28 (sources.d.endpoint)
    5 |   d: {type: git, endpoint: 'https://h/x?token=****', branch: -x}
      |                            ^

    error[wrong_value]: `-x` is not a branch's name
     --> p.yaml:5:65 (sources.d.branch)
    5 |   d: {type: git, endpoint: 'https://h/x?token=****', branch: -x}
      |                                                              ^
    ");
}

#[test]
fn connections_that_are_not_literal_is_explained() {
    let text = r"sources:
  app:
    type: git
    endpoint: https://git.example.com/team/app.git
    certificate: {type: serviceConnection, serviceConnection: '${CONN}'}
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: DockerLogin, with: {dockerRepository: h, serviceConnection: '{{ .C }}'}}
          b: {step: DockerLogin, with: {dockerRepository: h}}
          c: {step: Command, with: {run: x, connections: {a: , b: [x]}}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_value]: a connection's ID must be literal; variables are not replaced here
     --> p.yaml:5:63 (sources.app.certificate.serviceConnection)
    5 |     certificate: {type: serviceConnection, serviceConnection: '${CONN}'}
      |                                                               ^

    error[wrong_value]: a connection's ID must be literal; variables are not replaced here
      --> p.yaml:11:81 (stages.build.jobs.compile.steps.a.with.serviceConnection)
    11 |           a: {step: DockerLogin, with: {dockerRepository: h, serviceConnection: '{{ .C }}'}}
       |                                                                                 ^

    error[missing_key]: `serviceConnection` is missing
      --> p.yaml:12:40 (stages.build.jobs.compile.steps.b.with)
    12 |           b: {step: DockerLogin, with: {dockerRepository: h}}
       |                                        ^

    error[missing_key]: the ID of `a` is missing
      --> p.yaml:13:59 (stages.build.jobs.compile.steps.c.with.connections)
    13 |           c: {step: Command, with: {run: x, connections: {a: , b: [x]}}}
       |                                                           ^

    error[wrong_type]: expected a text, found a list
      --> p.yaml:13:67 (stages.build.jobs.compile.steps.c.with.connections.b)
    13 |           c: {step: Command, with: {run: x, connections: {a: , b: [x]}}}
       |                                                                   ^
    ");
}

#[test]
fn variables_is_explained() {
    let text = r"variables:
- {key: 1a, value: x}
- {key: version, value: x}
- {key: KEYFERRY_SOCKET, value: x}
- {key: A, value: x}
- {key: A, value: {b: c}}
- {key: P, value: hunter2, isEncrypted: true}
- {value: x}
- {key: B, type: Nmber}
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_value]: `1a` is not a variable's name; it takes letters, digits and `_`
     --> p.yaml:2:9 (variables.0)
    2 | - {key: 1a, value: x}
      |         ^

    error[wrong_value]: `version` is a reserved name in Flow
     --> p.yaml:3:9 (variables.1)
    3 | - {key: version, value: x}
      |         ^

    error[wrong_value]: `KEYFERRY_SOCKET` is reserved: names that start with `KEYFERRY_` belong to Keyferry
     --> p.yaml:4:9 (variables.2)
    4 | - {key: KEYFERRY_SOCKET, value: x}
      |         ^

    error[duplicate_key]: the variable `A` is given twice
     --> p.yaml:6:3 (variables)
    6 | - {key: A, value: {b: c}}
      |   ^

    error[wrong_type]: expected a text, found a mapping
     --> p.yaml:6:19 (variables.4.value)
    6 | - {key: A, value: {b: c}}
      |                   ^

    error[known_not_run]: an encrypted variable inside the text is known in Flow, not run yet
     --> p.yaml:7:41 (variables.5)
    7 | - {key: P, value: ****, isEncrypted: true}
      |                                      ^
      = hint: give the job a connection of type `generic` instead: `with.connections` of `Command`

    error[missing_key]: `key` is missing
     --> p.yaml:8:3 (variables.6)
    8 | - {value: x}
      |   ^

    error[wrong_value]: expected one of `String`, `Number`, `Boolean`, `Object`, found `Nmber`
     --> p.yaml:9:18 (variables.7.type)
    9 | - {key: B, type: Nmber}
      |                  ^
      = hint: did you mean `Number`?
    ");
}

#[test]
fn conditions_is_explained() {
    let text = r"stages:
  build:
    jobs:
      compile:
        condition: succes() &&
        steps:
          a: {step: Command, with: {run: x}}
      two:
        condition: sometimes()
        steps: {a: {step: Command, with: {run: x}}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[condition]: there is no function `succes` in conditions
     --> p.yaml:5:20 (stages.build.jobs.compile.condition)
    5 |         condition: succes() &&
      |                    ^
      = hint: did you mean `succeed`?

    error[condition]: there is no function `sometimes` in conditions
     --> p.yaml:9:20 (stages.build.jobs.two.condition)
    9 |         condition: sometimes()
      |                    ^
      = hint: functions are startsWith, endsWith, contains, weekDay, timeIn, always, succeed, failed
    ");
}

#[test]
fn environment_of_unknown_connections_is_explained() {
    let text = r"stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: Command, with: {run: x, connections: {images: c-1}, env: {A-B: x, C: '${image.password}'}}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_value]: `A-B` cannot be a variable's name
     --> p.yaml:6:79 (stages.build.jobs.compile.steps.a.with.env)
    6 |  with: {run: x, connections: {images: c-1}, env: {A-B: x, C: '${image.password}'}}}
      |                                                   ^
      = hint: a name has letters, digits and `_`, and does not start with a digit or `KEYFERRY_`

    error[unknown_reference]: there is no name under `connections` of this step called `image`
     --> p.yaml:6:90 (stages.build.jobs.compile.steps.a.with.env.C)
    6 | : x, connections: {images: c-1}, env: {A-B: x, C: '${image.password}'}}}
      |                                                   ^
      = hint: did you mean `images`?
    ");
}

#[test]
fn steps_of_git_is_explained() {
    let text = r"sources:
  app:
    type: git
    endpoint: https://git.example.com/team/app.git
stages:
  build:
    jobs:
      compile:
        steps:
          a: {step: MergeBranch, with: {from: x, into: x, strategy: rebase}}
          b: {step: MergeBranch, with: {from: 'a b'}}
          c: {step: DeleteBranch, with: {branch: x, expectedCommit: abc}}
          d: {step: AddGitTag, with: {tag: '-x'}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_value]: `from` and `into` are the same branch
      --> p.yaml:10:56 (stages.build.jobs.compile.steps.a.with)
    10 |           a: {step: MergeBranch, with: {from: x, into: x, strategy: rebase}}
       |                                                        ^

    error[wrong_value]: expected one of `merge`, `fastForward`, `squash`, found `rebase`
      --> p.yaml:10:69 (stages.build.jobs.compile.steps.a.with.strategy)
    10 |           a: {step: MergeBranch, with: {from: x, into: x, strategy: rebase}}
       |                                                                     ^

    error[missing_key]: `into` is missing
      --> p.yaml:11:40 (stages.build.jobs.compile.steps.b.with)
    11 |           b: {step: MergeBranch, with: {from: 'a b'}}
       |                                        ^

    error[wrong_value]: `a b` is not the name of a branch or tag
      --> p.yaml:11:47 (stages.build.jobs.compile.steps.b.with.from)
    11 |           b: {step: MergeBranch, with: {from: 'a b'}}
       |                                               ^

    error[wrong_value]: `abc` is not a commit; write all 40 characters of it
      --> p.yaml:12:69 (stages.build.jobs.compile.steps.c.with.expectedCommit)
    12 |           c: {step: DeleteBranch, with: {branch: x, expectedCommit: abc}}
       |                                                                     ^

    error[wrong_value]: `-x` is not the name of a branch or tag
      --> p.yaml:13:44 (stages.build.jobs.compile.steps.d.with.tag)
    13 |           d: {step: AddGitTag, with: {tag: '-x'}}
       |                                            ^
    ");
}

#[test]
fn ids_is_explained() {
    let text = r"sources:
  ../x: {type: git, endpoint: 'https://h/x'}
stages:
  名:
    jobs:
      1a:
        steps:
          a: {step: Command, with: {run: x}}
";
    insta::assert_snapshot!(refused(text), @r"
    error[wrong_value]: `../x` cannot be the id of a source
     --> p.yaml:2:3 (sources)
    2 |   ../x: {type: git, endpoint: 'https://h/x'}
      |   ^
      = hint: an id starts with a letter and has up to 30 letters, digits, `_` and `-`; `name` takes any text

    error[wrong_value]: `名` cannot be the id of a stage
     --> p.yaml:4:3 (stages)
    4 |   名:
      |   ^
      = hint: an id starts with a letter and has up to 30 letters, digits, `_` and `-`; `name` takes any text

    error[wrong_value]: `1a` cannot be the id of a job
     --> p.yaml:6:7 (stages.名.jobs)
    6 |       1a:
      |       ^
      = hint: an id starts with a letter and has up to 30 letters, digits, `_` and `-`; `name` takes any text
    ");
}

#[test]
fn a_template_is_explained() {
    let text = r"# template=true
stages: {{ .STAGES }}
";
    insta::assert_snapshot!(refused(text), @r"
    error[known_not_run]: rendering a pipeline as a template is known in Flow, not run yet
     --> p.yaml:1:1
    1 | # template=true
      | ^
    ");
}

#[test]
fn a_custom_tag_is_explained() {
    let text = r"stages: !include x
";
    insta::assert_snapshot!(refused(text), @r"
    error[yaml_syntax]: cannot read the text as YAML: unsupported tag `!include`
     --> p.yaml:1:18
    1 | stages: !include x
      |                  ^
      = hint: a text that starts with `!` stands in quotes: `'!failed()'`
    ");
}

#[test]
fn two_documents_is_explained() {
    let text = r"stages: {}
---
stages: {}
";
    insta::assert_snapshot!(refused(text), @r"
    error[yaml_syntax]: the text holds several YAML documents; a pipeline is one
     --> p.yaml:3:1
    3 | stages: {}
      | ^
    ");
}

#[test]
fn bombs_and_huge_texts_are_refused_quickly() {
    let mut bomb = "x-0: &x0 [a, a, a, a, a, a, a, a, a]\n".to_owned();
    for level in 1..20 {
        let names = vec![format!("*x{}", level - 1); 9].join(", ");
        writeln!(bomb, "x-{level}: &x{level} [{names}]").unwrap();
    }
    assert_eq!(Definition::parse(&bomb).unwrap_err()[0].code, code::BUDGET);
    let huge = "a: b\n".repeat(200_000);
    assert_eq!(Definition::parse(&huge).unwrap_err()[0].code, code::TOO_LARGE);
    let mut jobs = String::new();
    for number in 0..300 {
        write!(jobs, "j{number}: {{steps: {{a: {{step: Command, with: {{run: x}}}}}}}}, ").unwrap();
    }
    let many = format!("stages: {{s: {{jobs: {{{jobs}}}}}}}\n");
    assert_eq!(Definition::parse(&many).unwrap_err()[0].code, code::TOO_LARGE);
}

#[test]
fn not_more_diagnostics_are_collected_than_anyone_reads() {
    let mut text = String::new();
    for number in 0..5_000 {
        writeln!(text, "k{number}: 1").unwrap();
    }
    assert_eq!(Definition::parse(&text).unwrap_err().len(), 100);
}

proptest::proptest! {
    #[test]
    fn no_text_does_more_harm_than_being_refused(
        text in "((stages|jobs|steps|step|needs|sources|with|run|type|a|x-a)?[:\\-{}\\[\\],&*<!|>'\"# \n]{1,3}){0,40}"
    ) {
        if let Err(diagnostics) = Definition::parse(&text) {
            proptest::prop_assert!(!diagnostics.is_empty());
            let _ = render_all(&diagnostics, "p.yaml");
        }
    }

    #[test]
    fn a_damaged_pipeline_does_no_harm(cut in 0_usize..2_000, with in "\\PC{0,3}") {
        let text = crate::accepted::SEVERAL_SOURCES;
        let cut = text.char_indices().nth(cut).map_or(text.len(), |(byte, _)| byte);
        let (before, after) = text.split_at(cut);
        let after: String = after.chars().skip(1).collect();
        let _ = Definition::parse(&format!("{before}{with}{after}"));
    }
}
