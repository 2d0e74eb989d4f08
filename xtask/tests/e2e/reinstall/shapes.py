"""Builds packages of several shapes in the container of the build tools, and edits their files: an incremental build
must put the same bytes into /out as a build from nothing, and must do without colcon where the shape says so.

Prints a line for each build, and a last line with the number of builds that did without colcon.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

SEED = int(sys.argv[1])
MANIFEST = (
    '<package format="3"><name>{0}</name><version>1.0.0</version><description>a shape</description>'
    '<maintainer email="team@example.org">team</maintainer><license>MIT</license>'
    '<export><build_type>{1}</build_type></export></package>\n'
)
MARKER = "('share/ament_index/resource_index/packages', ['resource/' + NAME]), ('share/' + NAME, ['package.xml'])"
CFG = '[develop]\nscript_dir=$base/lib/{0}\n[install]\ninstall_scripts=$base/lib/{0}\n'

# Byte code depends on which other code is in the same process.
NODE = '''
import json
import os
import subprocess


class Node:
    """A class with names that many modules have."""

    name, path = 'node', os.path.join('/', 'run', 'node')

    def run(self, arguments, check=True, text=True):
        for name, value in sorted(json.loads(arguments).items()):
            subprocess.run([self.path, name, str(value), 'read', 'copy', 'open'], check=check, text=text)
        return {'files': len(self.name), 'used': None, 'sources': (1, 2.5, 'abc', b'abc', ...)}


def main():
    print(Node().run('{}'), sep='', end='')
'''
# As `ros2 pkg create` makes them, with launch files, parameters, a program, data in the package, and equal files.
PLAIN = f'''
from glob import glob
from setuptools import find_packages, setup
NAME = 'plain'
setup(
    name=NAME, version='1.0.0', packages=find_packages(exclude=['test']), package_data={{NAME: ['data/*.txt']}},
    data_files=[{MARKER}, ('share/' + NAME + '/launch', glob('launch/*')), ('share/' + NAME, ['config/a.yaml']),
                ('lib/' + NAME, ['programs/tool'])],
    entry_points={{'console_scripts': ['node = plain.node:main']}},
)
'''
# A layout with src/, a version and a description that setup.py reads, scripts whose first line is rewritten.
READS = f'''
import re
from setuptools import find_packages, setup
NAME = 'reads'
setup(
    name=NAME, version=re.search("'(.*)'", open('src/reads/version.py').read())[1], package_dir={{'': 'src'}},
    packages=find_packages('src'), py_modules=['single'], scripts=['programs/tool'],
    long_description=open('README.md').read(), data_files=[{MARKER}],
)
'''
# A command of its own that makes a module from a text.
MAKES = f'''
from setuptools import setup
from setuptools.command.build_py import build_py
NAME = 'makes'
class Make(build_py):
    def run(self):
        super().run()
        with open('table.txt') as table, open(self.build_lib + '/makes/table.py', 'w') as module:
            module.write('TABLE = ' + repr(table.read()))
setup(name=NAME, version='1.0.0', packages=[NAME], cmdclass={{'build_py': Make}}, data_files=[{MARKER}])
'''
# Another program may read anything.
RUNS = f'''
import subprocess
from setuptools import setup
NAME = 'runs'
lines = subprocess.check_output(['wc', '-l', 'runs/node.py'], text=True).split()[0]
setup(name=NAME, version='1.0.' + lines, packages=[NAME], data_files=[{MARKER}])
'''
# One file under two names, and a directory that is a link.
LINKS = f'''
from setuptools import setup
NAME = 'links'
setup(name=NAME, version='1.0.0', packages=[NAME], data_files=[{MARKER}, ('share/links/maps', ['maps/a', 'same/b', 'c'])])
'''

# A program, a file that CMake fills in, and a Python module.
CMAKES = '''
cmake_minimum_required(VERSION 3.16)
project(cmakes CXX)
add_executable(c c.cpp)
configure_file(b.yaml.in b.yaml)
install(TARGETS c DESTINATION lib/cmakes)
install(FILES a.yaml ${CMAKE_BINARY_DIR}/b.yaml DESTINATION share/cmakes)
execute_process(COMMAND python3 -c "import sys; print(*sys.version_info[:2], sep='.', end='')" OUTPUT_VARIABLE version)
install(FILES python/d.py DESTINATION lib/python${version}/site-packages/cmakes)
'''
# As most packages of ROS; both ament and colcon write files like package.dsv.
AMENTS = '''
cmake_minimum_required(VERSION 3.16)
project(aments NONE)
find_package(ament_cmake REQUIRED)
find_package(ament_cmake_python REQUIRED)
ament_python_install_package(aments)
install(FILES a.yaml DESTINATION share/aments)
ament_package()
'''
# As many files as a number in a file says, which CMake notices.
COUNTS = '''
cmake_minimum_required(VERSION 3.16)
project(counts NONE)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS number)
file(STRINGS number number)
foreach(one RANGE ${number})
  file(WRITE ${CMAKE_BINARY_DIR}/file-${one} "${one}")
  install(FILES ${CMAKE_BINARY_DIR}/file-${one} DESTINATION share/counts)
endforeach()
'''

# Files of each shape, the files that change without colcon, and the links.
SHAPES = {
    'plain': (
        {'setup.py': PLAIN, 'setup.cfg': CFG.format('plain'), 'resource/plain': '', 'plain/__init__.py': '',
         'plain/deep/__init__.py': '', 'plain/deep/same.py': 'X = 1\n', 'plain/node.py': NODE,
         'plain/data/a.txt': 'a\n', 'launch/all.launch.py': 'X = 1\n', 'launch/all.xml': '<launch/>\n',
         'config/a.yaml': 'a: 1\n', 'programs/tool': '#!/bin/sh\n', 'test/test_it.py': 'def test_it(): pass\n'},
        {'plain/__init__.py', 'plain/deep/__init__.py', 'plain/deep/same.py', 'plain/node.py', 'plain/data/a.txt',
         'launch/all.launch.py', 'launch/all.xml', 'config/a.yaml', 'programs/tool', 'test/test_it.py'},
        {},
    ),
    'reads': (
        {'setup.py': READS, 'setup.cfg': CFG.format('reads'), 'resource/reads': '', 'src/reads/__init__.py': '',
         'src/reads/version.py': "V = '1.2.3'\n", 'src/single.py': NODE, 'programs/tool': '#!/usr/bin/python3\n',
         'README.md': 'It reads.\n'},
        {'src/reads/__init__.py', 'src/single.py'},
        {},
    ),
    'makes': (
        {'setup.py': MAKES, 'setup.cfg': CFG.format('makes'), 'resource/makes': '', 'makes/__init__.py': '',
         'makes/node.py': NODE, 'table.txt': 'one\n'},
        {'makes/__init__.py', 'makes/node.py'},
        {},
    ),
    'runs': (
        {'setup.py': RUNS, 'setup.cfg': CFG.format('runs'), 'resource/runs': '', 'runs/__init__.py': '',
         'runs/node.py': 'X = 1\n'},
        set(),
        {},
    ),
    'links': (
        {'setup.py': LINKS, 'setup.cfg': CFG.format('links'), 'resource/links': '', 'links/__init__.py': '',
         'maps/a': 'a\n', 'maps/b': 'b\n'},
        {'links/__init__.py', 'maps/a', 'maps/b'},
        {'c': 'maps/a', 'same': 'maps'},
    ),
    'cmakes': (
        {'CMakeLists.txt': CMAKES, 'a.yaml': 'a: 1\n', 'b.yaml.in': 'b: 1\n', 'c.cpp': '#include "c.hpp"\nint main() { return C; }\n',
         'c.hpp': '#define C 1\n', 'python/d.py': 'X = 1\n'},
        {'a.yaml', 'b.yaml.in', 'c.cpp', 'c.hpp', 'python/d.py'},
        {},
    ),
    'aments': ({'CMakeLists.txt': AMENTS, 'a.yaml': 'a: 1\n', 'aments/__init__.py': 'X = 1\n'}, {'a.yaml', 'aments/__init__.py'}, {}),
    'counts': ({'CMakeLists.txt': COUNTS, 'number': '1\n'}, set(), {}),
}


def build(name: str) -> 'tuple[str, bool]':
    """Build a package; return what it put into /out, and whether colcon built it."""
    for place in (Path('/out'), Path('/opt/ws/install'), Path('/tmp/reinstall.notes')):
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    Path('/opt/ws/install').mkdir()
    done = subprocess.run(['build-package', name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f'build-package {name}: {done.stdout}')
    listing = r'cd /out && find . -printf "%p %y %m %U %G %T@ %l\n" | sort && find . -type f | sort | xargs -d "\n" sha256sum'
    return subprocess.check_output(['sh', '-c', listing], text=True), 'Summary: ' in done.stdout


def build_from_nothing(name: str) -> str:
    """Build a package without the cache, which stays; return what it put into /out."""
    os.rename('/ws/build', '/ws/kept')
    os.mkdir('/ws/build')
    listing, by_colcon = build(name)
    assert by_colcon, f'{name}: there was nothing to install again'
    shutil.rmtree('/ws/build')
    os.rename('/ws/kept', '/ws/build')
    return listing


def edit(path: Path) -> None:
    """Change a file so that it stays valid."""
    text = path.read_text()
    if path.name == 'version.py':
        path.write_text(text.replace('1.2.', '1.2.1'))
    elif path.name == 'number':
        path.write_text('2\n')
    elif path.suffix == '.cpp':
        path.write_text(text.replace('return ', 'return 1 + '))
    elif path.suffix == '.hpp':
        path.write_text(text.replace('1', '11'))
    elif path.suffix == '.xml':
        path.write_text(text + '<!-- edited -->\n')
    else:
        path.write_text(text + '# edited\n')


def main() -> None:
    """Build and edit all shapes."""
    chance = random.Random(SEED)
    without_colcon = 0
    for name, (files, live, links) in SHAPES.items():
        source = Path('/ws/src', name)
        files = {**files, 'package.xml': MANIFEST.format(name, 'ament_cmake' if name == 'aments' else 'cmake' if 'CMakeLists.txt' in files else 'ament_python')}
        shutil.rmtree(source, ignore_errors=True)
        for path, text in files.items():
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            (source / path).write_text(text)
        for path, target in links.items():
            (source / path).symlink_to(target)
        if (source / 'programs/tool').exists():
            (source / 'programs/tool').chmod(0o755)
        shutil.rmtree('/ws/build', ignore_errors=True)
        os.mkdir('/ws/build')
        build(name)
        live = {*live, f'resource/{name}'} & set(files) if live else live
        others = ['number'] if 'number' in files else sorted(set(files) - live)
        some = chance.sample(sorted(live), chance.randint(1, len(live))) if live else []
        for edited in filter(None, (some, [chance.choice(others)])):
            for path in edited:
                edit(source / path)
            listing, by_colcon = build(name)
            print(name, 'colcon' if by_colcon else 'copies', *edited, flush=True)
            assert by_colcon == (not live.issuperset(edited)), f'{name}: {edited}'
            without_colcon += not by_colcon
            if not by_colcon:
                assert listing == build_from_nothing(name), f'{name}: other bytes after an edit of {edited}'
    # A file more, or other tools, are another build.
    (Path('/ws/src/links/more')).write_text('')
    assert build('links')[1], 'a file more'
    with open('/opt/ws/packages.list', 'a') as packages:
        packages.write('zzz 1\n')
    assert build('links')[1], 'other tools'
    print('without colcon:', without_colcon)


main()
