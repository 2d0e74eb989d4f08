from setuptools import find_packages, setup

package_name = 'behavior_tree'

setup(
    name=package_name,
    version='1.0.0',
    packages=find_packages(exclude=['test']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},
    maintainer='The robot team',
    maintainer_email='team@robots.example',
    description='A small behaviour-tree library and the node that plays a match.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'behavior_tree_node = behavior_tree.behavior_tree_node:main',
        ],
    },
)
