from setuptools import find_packages, setup

package_name = 'robot_node'

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
    description='How every node starts, shows that it is alive, and stops.',
    license='Apache-2.0',
)
