from setuptools import find_packages, setup

package_name = 'communication'

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
    description='Talks to the motor board over a serial line.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'communication_node = communication.communication_node:main',
        ],
    },
)
